//! A plot as SVG: panels side by side, each with lines over one axis.

use std::fmt::Write;

/// A line: its name, and points in order of `x`.
pub struct Line {
    /// As the legend says it.
    pub name: &'static str,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn in one frame. The lower end of `y` is 0, or the power of ten below all values if it is logarithmic.
pub struct Panel {
    /// Above the frame, with the unit of `y`.
    pub title: &'static str,
    /// What `x` is.
    pub x: &'static str,
    /// Whether `y` is.
    pub logarithmic: bool,
    /// Each in a colour of its own.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 5] = ["#2f7ed8", "#d8572f", "#2a9d5c", "#8e5bc0", "#b58900"];

/// Steps of 1, 2 or 5 times a power of ten, about five of them up to `most`.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 5.0).log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let enough = times.into_iter().find(|t| most / (t * power) <= 6.0);
    enough.unwrap_or(10.0) * power
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"
    );
}

fn panel(out: &mut String, panel: &Panel, left: f64) {
    let all = || panel.lines.iter().flat_map(|line| &line.points);
    let most_x = all().map(|p| p.0).fold(1.0, f64::max);
    let most = all().map(|p| p.1).fold(f64::MIN_POSITIVE, f64::max);
    let least = all().map(|p| p.1).fold(most, f64::min);
    let (bottom, top) = if panel.logarithmic {
        (least.log10().floor(), most.log10().ceil())
    } else {
        (0.0, (most / step(most)).ceil() * step(most))
    };
    let at_x = |x: f64| left + WIDTH * x / most_x;
    let at_y = |y: f64| {
        let y = if panel.logarithmic { y.log10() } else { y };
        TOP + HEIGHT * (1.0 - (y - bottom) / (top - bottom).max(f64::MIN_POSITIVE))
    };
    text(out, left + WIDTH / 2.0, TOP - 16.0, "middle", panel.title);
    text(
        out,
        left + WIDTH / 2.0,
        TOP + HEIGHT + 36.0,
        "middle",
        panel.x,
    );
    let marks: Vec<f64> = if panel.logarithmic {
        (bottom as i32..=top as i32)
            .map(|n| 10f64.powi(n))
            .collect()
    } else {
        let step = step(most);
        (0..=(top / step).round() as u32)
            .map(|n| f64::from(n) * step)
            .collect()
    };
    for mark in marks {
        let y = at_y(mark);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{left:.1} {y:.1}h{WIDTH}\"/>"
        );
        text(out, left - 6.0, y + 4.0, "end", &format!("{mark}"));
    }
    let step_x = step(most_x);
    for n in 0..=(most_x / step_x) as u32 {
        let x = f64::from(n) * step_x;
        text(out, at_x(x), TOP + HEIGHT + 18.0, "middle", &format!("{x}"));
    }
    for (n, line) in panel.lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let points: Vec<String> = line
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", at_x(x), at_y(y)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" style=\"stroke:{colour}\"/>",
            points.join(" ")
        );
        let y = TOP + HEIGHT + 56.0 + 16.0 * n as f64;
        let _ = writeln!(
            out,
            "<path d=\"M{left:.1} {:.1}h20\" style=\"stroke:{colour}\"/>",
            y - 4.0
        );
        text(out, left + 28.0, y, "start", line.name);
    }
}

/// The document.
pub fn svg(panels: &[Panel]) -> String {
    let width = panels.len() as f64 * (WIDTH + LEFT + 20.0);
    let lines = panels.iter().map(|p| p.lines.len()).max().unwrap_or(0);
    let height = TOP + HEIGHT + 60.0 + 16.0 * lines as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<style>polyline,path{{fill:none;stroke-width:2}}.grid{{stroke:#8884;stroke-width:1}}\
         text{{fill:#777}}</style>\n"
    );
    for (n, each) in panels.iter().enumerate() {
        panel(&mut out, each, LEFT + n as f64 * (WIDTH + LEFT + 20.0));
    }
    out.push_str("</svg>\n");
    out
}
