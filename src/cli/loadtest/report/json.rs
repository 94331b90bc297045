//! The report for programs.

use serde_json::{Map, Value, json};

use super::{Phase, QUANTILES, Row, Summary};

pub(in super::super) fn render(summary: &Summary) -> Value {
    json!({
        "target": summary.target,
        "began": summary.began.to_string(),
        "asked": summary.asked.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Map<_, _>>(),
        "is_good": summary.is_good(),
        "phases": summary.phases.iter().map(|phase| (phase.name.to_owned(), of_phase(phase))).collect::<Map<_, _>>(),
        "over_time": {
            "step_s": summary.step,
            "steps": summary.steps.iter().map(|step| {
                let [p50, p99, max] = step.latency.map_or([None; 3], |all| all.map(Some));
                json!({
                    "at_s": step.at,
                    "asked_per_s": step.asked_a_second,
                    "answered_per_s": step.answered_a_second,
                    "errors": step.errors,
                    "p50_ms": p50,
                    "p99_ms": p99,
                    "max_ms": max,
                })
            }).collect::<Vec<_>>(),
        },
        "cloud_calls": summary.cloud,
        "memory": summary.memory.as_ref().map(|memory| json!({
            "first_kib": memory.first(),
            "last_kib": memory.last(),
            "max_kib": memory.most(),
            "slope_kib_per_min": memory.slope.map(|slope| slope.value * 60.0),
            "slope_error_kib_per_min": memory.slope.map(|slope| slope.error * 60.0),
            "samples": memory.samples,
        })),
        "changes": summary.changes.as_ref().map(|changes| json!({
            "added": changes.added,
            "removed": changes.removed,
            "removed_at_the_end": changes.removed_at_the_end,
            "removals_in_vain": changes.in_vain,
            "left": changes.left.iter().map(|(group, name)| json!({"group": group, "name": name})).collect::<Vec<_>>(),
        })),
        "thresholds": summary.verdicts.iter().map(|verdict| json!({
            "name": verdict.name,
            "limit": verdict.limit,
            "value": verdict.value,
            "is_met": verdict.is_met,
        })).collect::<Vec<_>>(),
        "warnings": summary.warnings,
    })
}

fn of_phase(phase: &Phase) -> Value {
    let three = |[p50, p99, max]: [f64; 3]| json!({"p50": p50, "p99": p99, "max": max});
    json!({
        "seconds": phase.seconds,
        "answered_per_s": phase.answered_a_second,
        "late_ms": three(phase.late),
        "served_ms": three(phase.served),
        "calls": phase.rows.iter().map(|row| (row.name.to_owned(), of_row(row))).collect::<Map<_, _>>(),
    })
}

fn of_row(row: &Row) -> Value {
    let mut latency: Map<String, Value> = Map::new();
    if let Some(quantiles) = row.quantiles {
        let named = QUANTILES.iter().zip(quantiles);
        latency.extend(named.map(|((name, _), ms)| ((*name).to_owned(), json!(ms))));
        latency.insert("max".to_owned(), json!(row.most));
    }
    json!({
        "asked": row.asked,
        "good": row.good,
        "errors": row.errors.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect::<Map<_, _>>(),
        "latency_ms": latency,
        "histogram": row.histogram.iter().map(|(edge, count)| json!({"le_ms": edge, "count": count})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn each_phase_and_call_has_its_place() {
        let report = render(&samples::summary("g"));
        let all = &report["phases"]["steady"]["calls"]["all"];
        assert_eq!((&all["asked"], &all["errors"]["status_503"]), (&json!(150), &json!(3)));
        assert!(all["latency_ms"]["p99.9"].as_f64().unwrap() > 150.0, "{all}");
        assert_eq!(report["phases"]["ramp"]["calls"]["addUsers"]["asked"], 5);
        assert_eq!(
            (&report["is_good"], &report["thresholds"][0]["value"]),
            (&json!(false), &json!(190.0))
        );
        assert_eq!(report["changes"]["left"][0], json!({"group": "g", "name": "user1"}));
        assert_eq!(report["over_time"]["steps"].as_array().unwrap().len(), 40);
    }
}
