//! The fuzz targets without libFuzzer, on any toolchain: seeds are mutated, nothing guides.
//!
//! `blind TARGET SECONDS SEED_DIRECTORY ARTIFACT_DIRECTORY [SEED]` runs; the same number gives the
//! same inputs. `blind TARGET replay FILE...` runs files. An input that breaks a promise is stored.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use redvault::base::rng::Rng;
use redvault_fuzz::target;

/// Inputs to go on from: seeds and some of their offspring.
const POOL_MAX: usize = 500;
const INPUT_MAX: usize = 16 * 1024;
/// An input that takes longer is reported as a hang.
const SLOW: Duration = Duration::from_secs(10);

/// The input that is running, for the panic hook.
static RUNNING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [name, "replay", ref files @ ..] => replay(name, files),
        [name, seconds, seeds, artifacts] => run(name, seconds, seeds, artifacts, "1"),
        [name, seconds, seeds, artifacts, seed] => run(name, seconds, seeds, artifacts, seed),
        _ => Err("usage: blind TARGET SECONDS SEEDS ARTIFACTS [SEED]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn replay(name: &str, files: &[&str]) -> Result<(), String> {
    let target = target(name)?;
    for file in files {
        target(&fs::read(file).map_err(|error| format!("{file}: {error}"))?);
        println!("{file}: no complaint");
    }
    Ok(())
}

fn run(name: &str, seconds: &str, seeds: &str, artifacts: &str, seed: &str) -> Result<(), String> {
    let target = target(name)?;
    let bad = |what: &str| format!("'{what}' is no number");
    let time = Duration::from_secs(seconds.parse().map_err(|_| bad(seconds))?);
    let mut rng = Rng::from_seed(seed.parse().map_err(|_| bad(seed))?);
    let mut pool = read_all(Path::new(seeds)).map_err(|error| format!("{seeds}: {error}"))?;
    pool.push(Vec::new());
    store_on_panic(Path::new(artifacts).join(format!("{name}-{seed}")));

    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let input = mutate(&pool, &mut rng);
        RUNNING
            .lock()
            .expect("no panic holds it")
            .clone_from(&input);
        let begun = Instant::now();
        target(&input);
        assert!(
            begun.elapsed() < SLOW,
            "an input of {} bytes took too long",
            input.len()
        );
        runs += 1;
        if pool.len() < POOL_MAX {
            pool.push(input);
        } else if rng.below(16) == 0 {
            // The first are the seeds: they stay.
            let at = POOL_MAX / 4 + below(&mut rng, POOL_MAX * 3 / 4);
            pool[at] = input;
        }
    }
    println!("{name}: {runs} inputs, seed {seed}: no complaint");
    Ok(())
}

fn read_all(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    files.iter().map(fs::read).collect()
}

fn store_on_panic(path: PathBuf) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if let Ok(input) = RUNNING.try_lock() {
            match fs::write(&path, &*input) {
                Ok(()) => eprintln!("the input is in {}", path.display()),
                Err(error) => eprintln!("{}: {error}", path.display()),
            }
        }
    }));
}

fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(n.max(1) as u64) as usize
}

/// A random part of the bytes.
fn part<'a>(bytes: &'a [u8], rng: &mut Rng) -> &'a [u8] {
    let from = below(rng, bytes.len());
    &bytes[from..][..below(rng, (bytes.len() - from).min(256) + 1)]
}

fn mutate(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    const NUMBERS: [&str; 8] = ["0", "1", "-1", "9", "10", "2147483648", "4294967295", "-"];
    let mut input = pool[below(rng, pool.len())].clone();
    for _ in 0..1 + rng.below(6) {
        let at = below(rng, input.len() + 1);
        match rng.below(7) {
            0 if at < input.len() => input[at] = rng.next_u64() as u8,
            1 if at < input.len() => input[at] ^= 1 << rng.below(8),
            2 if at < input.len() => drop(input.remove(at)),
            3 => {
                let end = at + below(rng, (input.len() - at).min(64) + 1);
                input.drain(at..end);
            }
            4 => {
                let other = &pool[below(rng, pool.len())];
                input.splice(at..at, part(other, rng).iter().copied());
            }
            5 => {
                let copy = part(&input, rng).to_vec();
                input.splice(at..at, copy);
            }
            _ => {
                let number = NUMBERS[below(rng, NUMBERS.len())];
                input.splice(at..at, number.bytes());
            }
        }
    }
    input.truncate(INPUT_MAX);
    input
}
