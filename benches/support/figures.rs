//! What benches of figures and floors share: sizes from the environment, medians with their spread, one Markdown table.
#![allow(dead_code, reason = "every bench uses another part")]

use std::fmt::Write as _;
use std::str::FromStr;

/// Whether this is a look only: small sizes, no figures to quote.
pub fn is_quick() -> bool {
    std::env::var("FACADE_BENCH_QUICK").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// A size from the environment; else the usual one, or the one for a look.
pub fn size<T: FromStr>(name: &str, usual: T, quick: T) -> T {
    match std::env::var(format!("FACADE_BENCH_{name}")) {
        Ok(text) => text
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("FACADE_BENCH_{name}: {text:?} will not do")),
        Err(_) if is_quick() => quick,
        Err(_) => usual,
    }
}

/// Sizes from the environment, with commas between.
pub fn sizes<T: FromStr + Clone>(name: &str, usual: &[T], quick: &[T]) -> Vec<T> {
    match std::env::var(format!("FACADE_BENCH_{name}")) {
        Ok(text) => text
            .split(',')
            .map(|part| {
                let size = part.trim().parse();
                size.unwrap_or_else(|_| panic!("FACADE_BENCH_{name}: {part:?} will not do"))
            })
            .collect(),
        Err(_) if is_quick() => quick.to_vec(),
        Err(_) => usual.to_vec(),
    }
}

/// The value below which so large a part of them lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted
        .get(place.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// As many digits as mean something.
pub fn shown(value: f64) -> String {
    if value.is_nan() {
        return String::new();
    }
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let whole = text.split('.').next().unwrap_or_default();
    let start = usize::from(whole.starts_with('-'));
    // 1,234,567
    let mut grouped = whole[..start].to_owned();
    for (place, digit) in whole[start..].char_indices() {
        if place > 0 && (whole.len() - start - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &text[whole.len()..]
}

/// A Markdown table.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&text| text.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Of figures and floors that were taken in turns.
    pub fn of_ratios() -> Self {
        Self::new(&["what", "figure", "floor", "its figure", "ratio", "quartiles", "aim"])
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|&text| text.to_owned()).collect());
    }

    /// A figure and a floor, round by round: the medians of both, and median and quartiles of the rounds' ratios.
    pub fn ratio(&mut self, what: &str, figure: &[f64], floor: &str, floors: &[f64], aim: &str) {
        let ratios: Vec<f64> = figure
            .iter()
            .zip(floors)
            .map(|(figure, floor)| figure / floor)
            .collect();
        let quartiles = format!("{:.3} to {:.3}", quantile(&ratios, 0.25), quantile(&ratios, 0.75));
        self.row(&[
            what,
            &shown(median(figure)),
            floor,
            &shown(median(floors)),
            &format!("{:.3}", median(&ratios)),
            &quartiles,
            aim,
        ]);
    }

    pub fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .chain(self.head.get(column))
                .map(|text| text.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let mut text = String::from("|");
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(text, " {cell:<width$} |");
            }
            text
        };
        println!("{}", line(&self.head));
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        println!("{}", line(&rule));
        for row in &self.rows {
            println!("{}", line(row));
        }
    }
}

/// How the programs were built, for whoever reads a figure.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "**a build without optimisation: ratios and bytes may be looked at, times mean nothing**"
    } else {
        "a release build"
    }
}
