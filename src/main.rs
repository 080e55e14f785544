//! The command line of RedVault.
use redvault::state::config::Config;

fn main() -> std::process::ExitCode {
    let mut config = Config::default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    for pair in args.chunks(2) {
        if pair[0] == "--port" {
            config.port = pair[1].parse().unwrap_or(6379);
        }
    }
    let code = redvault::server::boot::run(config, None);
    std::process::ExitCode::from(code.clamp(0, 255) as u8)
}
