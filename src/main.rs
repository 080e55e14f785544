//! The command line of RedVault: parses it, reads the configuration, boots.
use redvault::exec::users::file::check_line;
use redvault::server::cli::{self, Request};
use redvault::server::{boot, registry};
use redvault::state::config::Lookups;
use redvault::tools::command_line;
use std::process::ExitCode;

fn main() -> ExitCode {
    let table = registry::build(&|_| None);
    let known = |name: &[u8]| table.find(name).is_some();
    let lookups = Lookups {
        command: Some(&known),
        user: &|words| check_line(&table, words),
    };
    match cli::parse(std::env::args_os()) {
        Request::Print(answer) => finish(&answer),
        Request::Tool(tool) => exit(command_line::run(&tool)),
        Request::CheckConfig(path) => finish(&cli::check_config(&path, lookups)),
        Request::Serve(launch) => match launch.configure(&mut std::io::stdin(), lookups) {
            Ok(config) => exit(boot::run(config, launch.file)),
            Err(error) => {
                boot::refuse(&error);
                ExitCode::FAILURE
            }
        },
    }
}

fn finish(answer: &cli::Answer) -> ExitCode {
    if answer.to_stderr {
        eprint!("{}", answer.text)
    } else {
        print!("{}", answer.text)
    }
    exit(answer.code)
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(code.clamp(0, 255) as u8)
}
