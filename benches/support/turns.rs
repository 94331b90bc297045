//! A figure beside its floors, taken in turns, so that whatever else the machine does it does to all of them.
//!
//! Criterion takes one after another. Here each sample of a figure is followed at once by each of its floors, for about as
//! long; criterion draws the plots, and the table has the ratios of the pairs.
#![allow(dead_code, reason = "every bench uses another part")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};

use crate::given;

/// Does what is measured so many times, and tells how long that took; what each single time took, if it likes.
type Run<'a> = Box<dyn FnMut(u64, &mut Vec<u64>) -> Duration + 'a>;

/// Something that is measured.
pub struct Runner<'a> {
    name: &'a str,
    run: Option<Run<'a>>,
    /// Nanoseconds of one time, by sample.
    samples: Vec<f64>,
    /// Nanoseconds of single times.
    laps: Vec<u64>,
    /// What one time takes with everything around it, for the next guess.
    guess: f64,
}

impl<'a> Runner<'a> {
    /// Does `once` again and again.
    pub fn of<T>(name: &'a str, mut once: impl FnMut() -> T + 'a) -> Self {
        Self::timed(name, move |times| {
            let begun = Instant::now();
            for _ in 0..times {
                std::hint::black_box(once());
            }
            begun.elapsed()
        })
    }

    /// Measures so many times by itself.
    pub fn timed(name: &'a str, mut run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self::lapped(name, move |times, _| run(times))
    }

    /// The same, and tells each single time in nanoseconds.
    pub fn lapped(name: &'a str, run: impl FnMut(u64, &mut Vec<u64>) -> Duration + 'a) -> Self {
        Self {
            run: Some(Box::new(run)),
            ..Self::theory(name, Duration::ZERO)
        }
    }

    /// What is known without measuring.
    pub fn theory(name: &'a str, known: Duration) -> Self {
        Self {
            name,
            run: None,
            samples: Vec::new(),
            laps: Vec::new(),
            guess: known.as_nanos() as f64,
        }
    }

    fn take(&mut self, times: u64) -> Duration {
        let Some(run) = &mut self.run else {
            self.samples.push(self.guess);
            return Duration::from_nanos(self.guess as u64);
        };
        let begun = Instant::now();
        let spent = run(times, &mut self.laps);
        self.guess = begun.elapsed().as_nanos() as f64 / times as f64;
        self.samples.push(spent.as_nanos() as f64 / times as f64);
        spent
    }

    /// How often it can be done in about this time; once, where nobody knows.
    fn fitting(&self, room: Duration) -> u64 {
        if self.samples.is_empty() {
            return 1;
        }
        (room.as_nanos() as f64 / self.guess.max(1.0)).max(1.0) as u64
    }

    fn forget(&mut self) {
        self.samples.clear();
        self.laps.clear();
    }
}

/// How a figure is shown.
#[derive(Clone, Copy)]
pub enum Show {
    /// As a time, divided by what is done in it.
    Time(usize),
    /// As so many a second; the ratio is that of the rates.
    Rate,
}

/// All figures of a question.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 6]>,
}

impl Table {
    /// Begins a group of figures that belong into the same plots, over a number of `what`.
    pub fn group<'a>(&'a mut self, criterion: &'a mut Criterion, name: &str, what: &'a str) -> Turns<'a> {
        Turns {
            what,
            group: criterion.benchmark_group(name),
            drawn: HashSet::new(),
            table: self,
        }
    }

    /// Prints it as Markdown, if anything was measured.
    pub fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        let head = ["case", "figure", "floor", "its figure", "ratio", "middle half"].map(str::to_owned);
        let all: Vec<&[String; 6]> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        println!();
        for (number, row) in all.iter().enumerate() {
            let cell = |(column, text): (usize, &String)| {
                let width = widths[column];
                // Texts to the left, numbers to the right.
                if column == 0 || column == 2 {
                    format!("{text:<width$}")
                } else {
                    format!("{text:>width$}")
                }
            };
            let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                let line = |(column, width): (usize, &usize)| match column {
                    0 | 2 => "-".repeat(width + 2),
                    _ => "-".repeat(width + 1) + ":",
                };
                let lines: Vec<String> = widths.iter().enumerate().map(line).collect();
                println!("|{}|", lines.join("|"));
            }
        }
        if given::is_smoke() {
            println!("\ntaken once, which shows that it works: no figures to quote\n");
        } else {
            println!(
                "\nratio: the middle one of pairs taken in turns; plots: criterion/report/index.html in the target directory\n"
            );
        }
    }

    /// One more row: parts of a figure, in nanoseconds, beside the same parts of its floor.
    pub fn beside(&mut self, case: String, figure: &[u64], floor: &str, its: &[u64]) {
        let middle = |all: &[u64]| part(&sorted(all.iter().map(|one| *one as f64)), 0.5);
        let (figure, its) = (middle(figure), middle(its));
        if figure.is_finite() && its.is_finite() {
            self.row(case, [time(figure), time(its)], floor, figure / its, String::new());
        }
    }

    fn row(&mut self, case: String, figures: [String; 2], floor: &str, ratio: f64, spread: String) {
        let [figure, its_figure] = figures;
        let row = [
            case,
            figure,
            floor.to_owned(),
            its_figure,
            format!("{ratio:.2}"),
            spread,
        ];
        self.rows.push(row);
    }

    fn told(&mut self, case: &str, show: Show, figure: &Runner<'_>, floor: &Runner<'_>) {
        let shown = |nanoseconds: f64| match show {
            Show::Time(parts) => time(nanoseconds / parts as f64),
            Show::Rate => format!("{:.0}/s", 1e9 / nanoseconds),
        };
        let ratio = |(figure, floor): (&f64, &f64)| match show {
            Show::Time(_) => figure / floor,
            Show::Rate => floor / figure,
        };
        let ratios = sorted(figure.samples.iter().zip(&floor.samples).map(ratio));
        let middle = |runner: &Runner<'_>| shown(part(&sorted(runner.samples.iter().copied()), 0.5));
        self.row(
            case.to_owned(),
            [middle(figure), middle(floor)],
            floor.name,
            part(&ratios, 0.5),
            format!("{:.2} to {:.2}", part(&ratios, 0.25), part(&ratios, 0.75)),
        );
        let laps = |runner: &Runner<'_>| sorted(runner.laps.iter().map(|lap| *lap as f64));
        let (of_figure, of_floor) = (laps(figure), laps(floor));
        if of_figure.is_empty() || of_floor.is_empty() {
            return;
        }
        for (name, wanted) in [("p50", 0.5), ("p99", 0.99)] {
            let (figure, its) = (part(&of_figure, wanted), part(&of_floor, wanted));
            let figures = [time(figure), time(its)];
            self.row(
                format!("{case}, {name}"),
                figures,
                floor.name,
                figure / its,
                String::new(),
            );
        }
    }
}

/// Figures of one group.
pub struct Turns<'a> {
    what: &'a str,
    group: BenchmarkGroup<'a, WallTime>,
    drawn: HashSet<String>,
    table: &'a mut Table,
}

impl Turns<'_> {
    /// As many times a sample for each: for what takes long.
    pub fn sampling(&mut self, mode: SamplingMode) {
        self.group.sampling_mode(mode);
    }

    /// So many samples, whatever was said before.
    pub fn samples(&mut self, samples: usize) {
        self.group.sample_size(samples);
    }

    /// Measures a figure beside its floors. `parameter` is the number that the plots have on their axis.
    pub fn take<'r>(&mut self, figure: Runner<'r>, parameter: usize, show: Show, floors: impl Into<Vec<Runner<'r>>>) {
        let (mut figure, mut floors) = (figure, floors.into());
        // Criterion's warm-up doubles the times from one on; what was taken in it does not count.
        let (mut before, mut is_warm) = (0, false);
        self.group
            .bench_function(BenchmarkId::new(figure.name, parameter), |bencher| {
                bencher.iter_custom(|times| {
                    if !is_warm && before > 0 && times != 2 * before {
                        is_warm = true;
                        figure.forget();
                        floors.iter_mut().for_each(Runner::forget);
                    }
                    before = times;
                    let begun = Instant::now();
                    let spent = figure.take(times);
                    let room = begun.elapsed();
                    for floor in &mut floors {
                        floor.take(floor.fitting(room));
                    }
                    spent
                });
            });
        // Another case was asked for.
        if figure.samples.is_empty() {
            return;
        }
        for floor in &mut floors {
            let case = format!("{}, {parameter} {}", figure.name, self.what);
            self.table.told(&case, show, &figure, floor);
            self.draw(floor, parameter);
        }
    }

    /// The floor by itself, for the plots.
    fn draw(&mut self, floor: &mut Runner<'_>, parameter: usize) {
        let id = format!("{}/{parameter}", floor.name);
        if floor.run.is_some() && self.drawn.insert(id) {
            let name = format!("floor: {}", floor.name);
            self.group.bench_function(BenchmarkId::new(name, parameter), |bencher| {
                bencher.iter_custom(|times| floor.take(times));
            });
        }
    }
}

/// In its order.
fn sorted(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all
}

/// The value that so large a part of them does not exceed.
pub fn part(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// A time as people read it.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.3} s", ns / 1e9),
    }
}

/// So many samples in about so long, each with its floors. The command line outranks it.
pub fn measure(samples: usize, time: Duration) -> Criterion {
    Criterion::default()
        .sample_size(samples)
        .nresamples(20_000)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(time)
}
