//! What whoever runs a bench may set, and whether it is only to show that it works.
#![allow(dead_code, reason = "every bench uses another part")]

/// Whether each step is taken once, with small sizes, as `cargo bench --bench X -- --test` asks.
pub fn is_smoke() -> bool {
    // As criterion decides it: cargo says `--bench` where it is to measure.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    given("--test") || !given("--bench")
}

/// A number from the environment, else the usual one, or a small one.
pub fn number(name: &str, usual: usize, small: usize) -> usize {
    let all = numbers(name, &[usual], &[small]);
    assert_eq!(all.len(), 1, "{name}: one number");
    all[0]
}

/// Numbers from the environment (`1000,10000`), else the usual ones, or small ones.
pub fn numbers(name: &str, usual: &[usize], small: &[usize]) -> Vec<usize> {
    match std::env::var(name) {
        Ok(text) => parse(name, &text),
        Err(_) if is_smoke() => small.to_vec(),
        Err(_) => usual.to_vec(),
    }
}

fn parse(name: &str, text: &str) -> Vec<usize> {
    let number = |part: &str| part.trim().parse();
    let all: Result<Vec<usize>, _> = text.split(',').map(number).collect();
    all.unwrap_or_else(|e| panic!("{name}={text}: {e}"))
}
