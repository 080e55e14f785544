//! How much more memory this process may use: what the machine has left, and the groups of processes
//! (containers, services) that it belongs to.
use std::fs;
use std::path::{Path, PathBuf};

/// Memory that is to be had, and whose limit that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    pub bytes: u64,
    pub limit: String,
}

/// The tightest of all limits; `None` if the kernel says nothing. Files that are only cached count as
/// available, and swap too.
pub fn available_memory() -> Option<Available> {
    tightest(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn tightest(proc: &Path, groups: &Path) -> Option<Available> {
    let (machine, swap) = machine(&proc.join("meminfo"))?;
    let mut found = Available {
        bytes: machine.saturating_add(swap),
        limit: "memory of the machine".to_owned(),
    };
    for directory in directories(&proc.join("self/cgroup"), groups) {
        if let Some(bytes) = left_in(&directory, swap)
            && bytes < found.bytes
        {
            let limit = format!("memory limit of the control group {}", directory.display());
            found = Available { bytes, limit };
        }
    }
    Some(found)
}

/// Memory and swap that the machine has left.
fn machine(meminfo: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(meminfo).ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let swap = kib("SwapFree:").unwrap_or(0);
    Some((kib("MemAvailable:")? << 10, swap << 10))
}

/// Where the limits of this process's groups are, the outermost last.
fn directories(own: &Path, groups: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(own).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let root = match controllers {
            "" => groups.to_path_buf(),
            _ if controllers.split(',').any(|name| name == "memory") => groups.join("memory"),
            _ => continue,
        };
        // Inside a container the path may be one that is seen from outside only: the root is its own.
        let mut path = Path::new(path.trim_start_matches('/'));
        loop {
            found.push(root.join(path));
            match path.parent() {
                Some(parent) => path = parent,
                None => break,
            }
        }
    }
    found
}

fn left_in(directory: &Path, free_swap: u64) -> Option<u64> {
    // The second version of the interface, then the first.
    let number = |name: &str| {
        fs::read_to_string(directory.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let of = |names: [&str; 2]| number(names[0]).or_else(|| number(names[1]));
    let limit: u64 = of(["memory.max", "memory.limit_in_bytes"])?;
    let used: u64 = of(["memory.current", "memory.usage_in_bytes"])?;
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let cached: u64 = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| matches!(*name, "inactive_file" | "active_file"))
        .filter_map(|(_, n)| n.trim().parse::<u64>().ok())
        .sum();
    let swap = match (number("memory.swap.max"), number("memory.swap.current")) {
        (Some(max), Some(current)) => free_swap.min(max.saturating_sub(current)),
        _ => free_swap,
    };
    Some(
        limit
            .saturating_sub(used)
            .saturating_add(cached)
            .saturating_add(swap),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_some_left() {
        let found = available_memory().expect("Linux says it");
        assert!(found.bytes > 1 << 20, "{found:?}");
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        let ask = || tightest(&root.path().join("proc"), &root.path().join("groups"));
        assert_eq!(ask(), None);
        put(
            "proc/meminfo",
            "MemTotal: 9 kB\nMemAvailable: 4096 kB\nSwapFree: 1024 kB\n",
        );
        let found = ask().expect("it is said");
        assert_eq!(
            (found.bytes, &*found.limit),
            (5 << 20, "memory of the machine")
        );

        put("proc/self/cgroup", "0::/a/b\n");
        put("groups/a/memory.max", "1000000\n");
        put("groups/a/memory.current", "900000\n");
        put(
            "groups/a/memory.stat",
            "anon 5\ninactive_file 40000\nactive_file 5000\n",
        );
        put("groups/a/b/memory.max", "max\n");
        put("groups/a/b/memory.current", "800000\n");
        put("groups/a/memory.swap.max", "0\n");
        put("groups/a/memory.swap.current", "0\n");
        let found = ask().expect("it is said");
        assert_eq!(found.bytes, 145_000);
        assert!(found.limit.ends_with("groups/a"), "{}", found.limit);

        put("proc/self/cgroup", "4:cpu,memory:/docker/xyz\n3:cpuset:/\n");
        put("groups/memory/memory.limit_in_bytes", "3000\n");
        put("groups/memory/memory.usage_in_bytes", "4000\n");
        let found = ask().expect("it is said");
        assert_eq!(found.bytes, 1 << 20, "what is left is swap");
    }
}
