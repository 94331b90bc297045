//! How a figure grows with the size of its work: the exponent, a table, and a plot.

use std::fmt::Write as _;

/// What a figure is measured in.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    Seconds,
    Bytes,
}

/// A figure at several sizes.
pub struct Curve {
    name: &'static str,
    unit: Unit,
    pub points: Vec<(f64, f64)>,
}

/// `y = exp(level) · x^exponent`.
struct Fit {
    level: f64,
    exponent: f64,
    error: f64,
}

impl Curve {
    pub fn new(name: &'static str, unit: Unit) -> Self {
        Self {
            name,
            unit,
            points: Vec::new(),
        }
    }

    /// The points that have a logarithm: memory that was there already shows as nothing.
    fn positive(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0)
    }

    /// Least squares through the logarithms; nothing where there are too few points.
    fn fit(&self) -> Option<Fit> {
        let logs: Vec<(f64, f64)> = self.positive().map(|(x, y)| (x.ln(), y.ln())).collect();
        if logs.len() < 3 {
            return None;
        }
        let count = logs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
        let (middle_x, middle_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = logs.iter().map(|(x, _)| (x - middle_x).powi(2)).sum();
        let both: f64 = logs.iter().map(|(x, y)| (x - middle_x) * (y - middle_y)).sum();
        let exponent = both / spread;
        let level = middle_y - exponent * middle_x;
        let off: f64 = logs.iter().map(|(x, y)| (y - level - exponent * x).powi(2)).sum();
        Some(Fit {
            level,
            exponent,
            error: (off / (count - 2.0) / spread).sqrt(),
        })
    }

    /// A figure; of memory also what each of the many takes.
    fn cell(&self, number: usize) -> String {
        let (size, figure) = self.points[number];
        let all = shown(figure, self.unit);
        if self.unit == Unit::Seconds || figure <= 0.0 || size <= 1.0 {
            return all;
        }
        format!("{all} ({:.0} B each)", figure / size)
    }

    fn exponent(&self) -> String {
        self.fit().map_or_else(
            || "–".to_owned(),
            |fit| format!("{:.2} ± {:.2}", fit.exponent, fit.error),
        )
    }
}

fn shown(value: f64, unit: Unit) -> String {
    let steps: [(f64, &str); 4] = match unit {
        Unit::Seconds => [(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")],
        Unit::Bytes => [(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")],
    };
    if !value.is_finite() || value <= 0.0 {
        return "–".to_owned();
    }
    let (size, name) = steps.iter().rev().find(|(size, _)| value >= *size).unwrap_or(&steps[0]);
    let number = value / size;
    let digits = if number < 10.0 { 2 } else { 1 };
    format!("{number:.digits$} {name}")
}

/// A row a size, and the exponents below.
pub fn table(question: &str, curves: &[Curve]) -> String {
    let mut rows = vec![vec![question.to_owned()]];
    rows[0].extend(curves.iter().map(|curve| curve.name.to_owned()));
    for (number, (size, _)) in curves[0].points.iter().enumerate() {
        let mut row = vec![format!("{size}")];
        row.extend(curves.iter().map(|curve| curve.cell(number)));
        rows.push(row);
    }
    let mut row = vec!["exponent".to_owned()];
    row.extend(curves.iter().map(Curve::exponent));
    rows.push(row);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let lines = widths.iter().map(|width| "-".repeat(width + 1) + ":");
            let _ = writeln!(text, "|{}|", lines.collect::<Vec<_>>().join("|"));
        }
    }
    text
}

/// Width and height of a plot, and what its axes take of it.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;

/// Whole powers of ten around the values.
#[derive(Clone, Copy)]
struct Axis {
    from: i32,
    to: i32,
    at: f64,
    length: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, at: f64, length: f64) -> Self {
        let logs: Vec<f64> = values.map(f64::log10).collect();
        let from = logs.iter().copied().fold(f64::INFINITY, f64::min).floor() as i32;
        let to = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil() as i32;
        Self {
            from,
            to: to.max(from + 1),
            at,
            length,
        }
    }

    fn place(self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.at + part * self.length
    }

    fn ticks(self) -> impl Iterator<Item = (f64, f64)> {
        (self.from..=self.to).map(move |power| {
            let value = 10f64.powi(power);
            (value, self.place(value))
        })
    }
}

/// All curves of a question side by side, on logarithmic axes; needs nothing but itself.
pub fn svg(question: &str, curves: &[Curve]) -> String {
    let width = WIDTH * curves.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{HEIGHT}\" viewBox=\"0 0 {width} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<title>cost as {question} grow</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, curve) in curves.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({} 0)\">", WIDTH * number as f64);
        panel(&mut out, question, curve);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, question: &str, curve: &Curve) {
    let text = |out: &mut String, x: f64, y: f64, rest: &str, text: &str| {
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {rest}>{text}</text>");
    };
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let centred = "text-anchor=\"middle\"";
    let title = format!("{}: exponent {}", curve.name, curve.exponent());
    text(out, middle, 18.0, "text-anchor=\"middle\" font-size=\"13\"", &title);
    if curve.positive().next().is_none() {
        return;
    }
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let across = Axis::around(curve.positive().map(|(x, _)| x), LEFT, right - LEFT);
    let up = Axis::around(curve.positive().map(|(_, y)| y), bottom, TOP - bottom);
    let line = |out: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, stroke: &str| {
        let _ = writeln!(
            out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>"
        );
    };
    for (value, x) in across.ticks() {
        line(out, x, TOP, x, bottom, "stroke=\"#ddd\"");
        text(out, x, bottom + 15.0, centred, &format!("{value}"));
    }
    for (value, y) in up.ticks() {
        line(out, LEFT, y, right, y, "stroke=\"#ddd\"");
        text(
            out,
            LEFT - 6.0,
            y + 4.0,
            "text-anchor=\"end\"",
            &shown(value, curve.unit),
        );
    }
    text(out, middle, HEIGHT - 10.0, centred, question);
    if let Some(fit) = curve.fit() {
        let at = |x: f64| (fit.level + fit.exponent * x.ln()).exp();
        let (first, last) = curve
            .positive()
            .fold((f64::INFINITY, 0.0_f64), |(first, last), (x, _)| {
                (first.min(x), last.max(x))
            });
        let stroke = "stroke=\"#c33\" stroke-dasharray=\"5 4\"";
        line(
            out,
            across.place(first),
            up.place(at(first)),
            across.place(last),
            up.place(at(last)),
            stroke,
        );
    }
    let places: Vec<(f64, f64)> = curve.positive().map(|(x, y)| (across.place(x), up.place(y))).collect();
    let joined: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#236\"/>",
        joined.join(" ")
    );
    for (x, y) in places {
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#236\"/>");
    }
}
