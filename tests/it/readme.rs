//! README states facts that the code knows better: this holds the two together.
use redvault::state::config::DIRECTIVES;

/// The rows of README's table of directives without effect, as the code has them.
fn rows() -> Vec<String> {
    DIRECTIVES
        .iter()
        .filter_map(|d| {
            d.unused
                .map(|reason| format!("| `{}` | {reason} |", d.name))
        })
        .collect()
}

#[test]
fn readme_lists_every_directive_without_effect_with_its_reason() {
    let readme = include_str!("../../README.md");
    let missing: Vec<String> = rows()
        .into_iter()
        .filter(|row| !readme.contains(row))
        .collect();
    assert!(
        missing.is_empty(),
        "README.md lacks these rows:\n{}",
        missing.join("\n")
    );
    let listed = readme
        .lines()
        .filter(|l| l.starts_with("| `") && l.ends_with("(no effect) |"));
    assert_eq!(listed.count(), 0, "rows are written as the code gives them");
}
