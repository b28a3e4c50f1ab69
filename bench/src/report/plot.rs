//! Plots as SVG text, drawn here so that the page needs neither network nor script.

use std::fmt::Write as _;

use super::outcome::{Lane, Outcome};

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 280.0;
/// Room for labels on the left and below.
const LEFT: f64 = 96.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 28.0;
/// Height of one bar with its gap.
const BAR: f64 = 34.0;
/// Quantiles named on the axis.
const MARKS: [(f64, &str); 6] = [
    (0.0, "0"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
];

/// Latency over quantile. The axis spreads the tail: each further nine takes the same width.
pub(super) fn latency(outcome: &Outcome) -> String {
    let points = outcome.lanes.iter().flat_map(|lane| &lane.quantiles);
    let (low, high) = points.fold((f64::MAX, 1.0_f64), |(low, high), (_quantile, us)| {
        (low.min(us.max(1.0)), high.max(*us))
    });
    let (low, high) = (
        low.log10().floor(),
        high.log10().ceil().max(low.log10().floor() + 1.0),
    );
    let y = |us: f64| {
        let part = (us.max(1.0).log10() - low) / (high - low);
        (HEIGHT - BOTTOM) - part * (HEIGHT - BOTTOM - TOP)
    };
    let mut svg = open("Latency by quantile, microseconds");
    for (quantile, label) in MARKS {
        let x = x_of(quantile);
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        let _written = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}"/><text class="mid" x="{x:.1}" y="{:.1}">{label}</text>"#,
            bottom + 18.0
        );
    }
    for decade in (low as i32)..=(high as i32) {
        let us = 10_f64.powi(decade);
        let y = y(us);
        let _written = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="end" x="{:.1}" y="{:.1}">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            duration(us)
        );
    }
    for (index, lane) in outcome.lanes.iter().enumerate() {
        let mut points = String::new();
        for &(quantile, us) in lane
            .quantiles
            .iter()
            .filter(|(quantile, _)| *quantile < 1.0)
        {
            let _written = write!(points, "{:.1},{:.1} ", x_of(quantile), y(us));
        }
        let _written = write!(
            svg,
            r#"<polyline class="line c{}" points="{}"><title>{}</title></polyline>"#,
            index % 6,
            points.trim_end(),
            escape(&lane.target)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Calls a second as bars, from the median, with the range of the rounds.
pub(super) fn throughput(outcome: &Outcome) -> String {
    let most = outcome
        .lanes
        .iter()
        .map(|lane| lane.calls_per_second.max)
        .fold(1.0, f64::max);
    let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - 190.0);
    let height = TOP + BAR * outcome.lanes.len() as f64;
    let mut svg = open_sized("Calls a second", height);
    for (index, lane) in outcome.lanes.iter().enumerate() {
        let y = TOP + BAR * index as f64;
        let middle = y + 11.0;
        let calls = lane.calls_per_second;
        let _written = write!(
            svg,
            r#"<text class="end" x="{:.1}" y="{:.1}">{}</text><rect class="bar c{}" x="{LEFT}" y="{y:.1}" width="{:.1}" height="22"/><line class="range" x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            LEFT - 8.0,
            y + 15.0,
            escape(&lane.target),
            index % 6,
            x(calls.median) - LEFT,
            x(calls.min),
            x(calls.max),
            x(calls.max) + 8.0,
            y + 15.0,
            bar_label(lane)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Text for an element's content or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn bar_label(lane: &Lane) -> String {
    let calls = lane.calls_per_second.median;
    lane.cpu_us.map_or_else(
        || format!("{calls:.0}/s"),
        |cpu| format!("{calls:.0}/s, {:.1} us CPU", cpu.median),
    )
}

fn x_of(quantile: f64) -> f64 {
    let nines_max = 4.0;
    let nines = -(1.0 - quantile).max(1e-4).log10();
    LEFT + nines / nines_max * (WIDTH - LEFT - RIGHT)
}

fn duration(us: f64) -> String {
    if us >= 1e6 {
        format!("{} s", us / 1e6)
    } else if us >= 1e3 {
        format!("{} ms", us / 1e3)
    } else {
        format!("{us} us")
    }
}

fn open(title: &str) -> String {
    open_sized(title, HEIGHT)
}

fn open_sized(title: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>"#
    )
}

#[cfg(test)]
mod tests {
    use super::{LEFT, RIGHT, WIDTH, duration, escape, x_of};

    #[test]
    fn each_nine_takes_the_same_width() {
        let step = (WIDTH - LEFT - RIGHT) / 4.0;
        assert!((x_of(0.0) - LEFT).abs() < 0.01);
        assert!((x_of(0.9) - LEFT - step).abs() < 0.01);
        assert!((x_of(0.999) - LEFT - 3.0 * step).abs() < 0.01);
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }

    #[test]
    fn durations_have_a_readable_unit() {
        assert_eq!(duration(100.0), "100 us");
        assert_eq!(duration(10_000.0), "10 ms");
        assert_eq!(duration(1e6), "1 s");
    }
}
