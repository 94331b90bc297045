//! Plots without a script: lines over time, and the histogram. Every text in them is a number or our own.

use std::fmt::{self, Write as _};

use super::short;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    FromZero,
    Logarithmic,
    /// From the lowest value to the highest.
    Narrow,
}

/// A line: its style's class, its name, and its points by time.
pub(super) struct Line<'a> {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) points: &'a [(f64, f64)],
}

struct Frame {
    lowest: f64,
    highest: f64,
    is_log: bool,
    whole: f64,
}

impl Frame {
    fn new(lines: &[Line<'_>], scale: Scale, whole: f64) -> Self {
        let values = || {
            let all = lines.iter().flat_map(|line| line.points).map(|(_, value)| *value);
            all.filter(|value| scale != Scale::Logarithmic || *value > 0.0)
        };
        let most = values().fold(f64::NEG_INFINITY, f64::max);
        let least = values().fold(f64::INFINITY, f64::min);
        let (lowest, highest) = match scale {
            _ if !most.is_finite() => (0.0, 1.0),
            Scale::FromZero => (0.0, if most > 0.0 { most * 1.05 } else { 1.0 }),
            Scale::Logarithmic => {
                let lowest = least.log10().floor();
                (lowest, most.log10().ceil().max(lowest + 1.0))
            }
            Scale::Narrow => {
                let room = ((most - least) * 0.1).max(most.abs() * 0.01).max(1.0);
                (least - room, most + room)
            }
        };
        Self {
            lowest,
            highest,
            is_log: scale == Scale::Logarithmic && most.is_finite(),
            whole: if whole > 0.0 { whole } else { 1.0 },
        }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.whole * (WIDTH - LEFT - RIGHT)
    }

    /// Of a value as it is, or of its logarithm where they are drawn.
    fn height(&self, value: f64) -> f64 {
        let part = (value - self.lowest) / (self.highest - self.lowest);
        HEIGHT - BOTTOM - part.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.is_log {
            value.max(f64::MIN_POSITIVE).log10()
        } else {
            value
        };
        self.height(value)
    }

    /// Where lines across are drawn, and what stands beside them.
    fn marks(&self) -> Vec<(f64, String)> {
        if self.is_log {
            let (from, to) = (self.lowest as i32, self.highest as i32);
            let mark = |power: i32| {
                let value = 10_f64.powi(power);
                let text = if value < 0.1 { value.to_string() } else { short(value) };
                (f64::from(power), text)
            };
            return (from..=to).map(mark).collect();
        }
        let step = (self.highest - self.lowest) / 4.0;
        let mark = |n: i32| {
            let value = self.lowest + f64::from(n) * step;
            (value, short(value))
        };
        (0..=4).map(mark).collect()
    }
}

fn open(out: &mut String, label: &str) -> fmt::Result {
    writeln!(
        out,
        "<svg class=\"plot\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">"
    )
}

fn across(out: &mut String, frame: &Frame, unit: &str) -> fmt::Result {
    for (value, text) in frame.marks() {
        let y = frame.height(value);
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"mark\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}{unit}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        )?;
    }
    Ok(())
}

/// Lines over `whole` seconds, of which those before `ramp` stand on a ground of their own.
pub(super) fn lines(
    out: &mut String,
    label: &str,
    unit: &str,
    lines: &[Line<'_>],
    scale: Scale,
    (ramp, whole): (f64, f64),
) -> fmt::Result {
    let frame = Frame::new(lines, scale, whole);
    open(out, label)?;
    if ramp > 0.0 {
        writeln!(
            out,
            "<rect class=\"ramp\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>ramp</title></rect>",
            frame.x(ramp) - LEFT,
            HEIGHT - TOP - BOTTOM
        )?;
    }
    across(out, &frame, unit)?;
    for n in 0..=5 {
        let at = frame.whole * f64::from(n) / 5.0;
        writeln!(
            out,
            "<text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            frame.x(at).min(WIDTH - RIGHT - 12.0),
            HEIGHT - BOTTOM + 18.0,
            short(at)
        )?;
    }
    for line in lines {
        write!(out, "<polyline class=\"{}\" points=\"", line.class)?;
        for (at, value) in line.points {
            write!(out, "{:.1},{:.1} ", frame.x(*at), frame.y(*value))?;
        }
        writeln!(out, "\"><title>{}</title></polyline>", line.name)?;
    }
    out.write_str("</svg>\n<p class=\"key\">")?;
    for line in lines {
        write!(out, "<span class=\"{}\">{}</span> ", line.class, line.name)?;
    }
    out.write_str("</p>\n")
}

/// Bars from the shortest latency to the longest; `marks` are lines down at named latencies.
pub(super) fn bars(out: &mut String, label: &str, buckets: &[(f64, u64)], marks: &[(&str, f64)]) -> fmt::Result {
    let heights: Vec<(f64, f64)> = buckets.iter().map(|(edge, count)| (*edge, *count as f64)).collect();
    let line = Line {
        class: "",
        name: "",
        points: &heights,
    };
    let frame = Frame::new(&[line], Scale::FromZero, buckets.len() as f64);
    open(out, label)?;
    across(out, &frame, "")?;
    let every = (buckets.len() / 12).max(1);
    for (place, (edge, count)) in buckets.iter().enumerate() {
        let (x, next) = (frame.x(place as f64), frame.x(place as f64 + 1.0));
        let y = frame.y(*count as f64);
        let name = short(*edge);
        writeln!(
            out,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>up to {name} ms: {count}</title></rect>",
            x + 0.5,
            (next - x - 1.0).max(0.5),
            HEIGHT - BOTTOM - y
        )?;
        if place % every == 0 {
            writeln!(
                out,
                "<text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                (x + next) / 2.0,
                HEIGHT - BOTTOM + 18.0
            )?;
        }
    }
    for (at, (name, ms)) in marks.iter().enumerate() {
        // Edges are a tenth of a decade apart.
        let Some((first, _)) = buckets.first() else { break };
        let place = ((ms / first).log10() * 10.0 + 1.0).clamp(0.0, buckets.len() as f64);
        let x = frame.x(place);
        writeln!(
            out,
            "<line class=\"quantile\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name} </text>",
            HEIGHT - BOTTOM,
            TOP + 10.0 + at as f64 * 12.0
        )?;
    }
    out.write_str("</svg>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_makes_a_place_that_is_none() {
        for values in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(0.0, 0.001), (5.0, 1e9)],
            vec![(1.0, 7.0); 3],
        ] {
            for scale in [Scale::FromZero, Scale::Logarithmic, Scale::Narrow] {
                let line = Line {
                    class: "a",
                    name: "b",
                    points: &values,
                };
                let mut out = String::new();
                lines(&mut out, "x", " ms", &[line], scale, (0.0, 0.0)).unwrap();
                assert!(
                    !out.contains("NaN") && !out.contains("inf"),
                    "{values:?} {scale:?} {out}"
                );
            }
        }
        let mut out = String::new();
        bars(&mut out, "x", &[], &[("p50", 1.0)]).unwrap();
        bars(&mut out, "x", &[(0.1, 0)], &[("p50", 0.1)]).unwrap();
        assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
    }
}
