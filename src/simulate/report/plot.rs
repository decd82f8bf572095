//! Plots as SVG, made by hand: no script, no font and no file beside the page.
//!
//! Decides how a day is drawn: time from left to right in the site's own hours, loads as steps of five minutes.

use super::Report;
use crate::simulate::day::Day;
use crate::simulate::tally::{BIN, Figures};
use crate::units::{Instant, Seconds, WattSeconds, Watts};
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 14.0;
const AXIS: f64 = 22.0;

/// Two shades for each panel, so that neighbours can be told apart.
const SHADES: [[&str; 2]; 5] = [
    ["#2c5f8a", "#4a83b3"],
    ["#2f8f83", "#5bb3a6"],
    ["#c98a1b", "#e3b04f"],
    ["#b5503c", "#d37a66"],
    ["#75508f", "#9a78b3"],
];

/// Panels from the bottom of the stack to its top, with their shades.
pub fn panels(day: &Day) -> impl Iterator<Item = (&str, [&'static str; 2])> {
    day.panels().into_iter().zip(SHADES.into_iter().cycle())
}

/// The area of a plot: instants to x, values to y.
struct Frame {
    start: Instant,
    end: Instant,
    height: f64,
    highest: f64,
}

impl Frame {
    fn of_day(day: &Day, height: f64, highest: f64) -> Self {
        Self {
            start: day.start,
            end: day.end,
            height,
            highest,
        }
    }

    fn x(&self, at: Instant) -> f64 {
        let share = (at - self.start).secs() as f64 / (self.end - self.start).secs() as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - value / self.highest) * (self.height - TOP - AXIS)
    }

    /// Opens the drawing, with a line at every multiple of `step`.
    fn open(&self, title: &str, step: f64, label: impl Fn(f64) -> String) -> String {
        let height = self.height;
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><g class=\"grid\">");
        let mut value = 0.0;
        while value <= self.highest {
            let y = self.y(value);
            let (right, text) = (WIDTH - RIGHT, label(value));
            let _ = write!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                y + 4.0,
            );
            value += step;
        }
        svg.push_str("</g>");
        svg
    }

    /// Hours of the site's clock below the plot.
    fn hours(&self, day: &Day) -> String {
        let mut svg = String::from("<g class=\"grid\">");
        let mut at = day.start;
        while at <= day.end {
            let (x, bottom) = (self.x(at), self.y(0.0));
            let _ = write!(
                svg,
                "<path d=\"M{x:.1} {bottom:.1}v4\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                day.clock_time(at),
            );
            at = at + Seconds::from_hours(3);
        }
        svg.push_str("</g>");
        svg
    }

    /// A line of steps: each value holds from its instant to the next one's, the last to the end.
    fn steps(&self, class: &str, points: &[(Instant, f64)]) -> String {
        let mut path = String::new();
        for (index, (at, value)) in points.iter().enumerate() {
            let (x, y) = (self.x((*at).max(self.start)), self.y(*value));
            let _ = match index {
                0 => write!(path, "M{x:.1} {y:.1}"),
                _ => write!(path, "H{x:.1}V{y:.1}"),
            };
        }
        format!("<path class=\"{class}\" d=\"{path}H{:.1}\"/>", self.x(self.end))
    }
}

/// The load of every EVSE, one upon the other, under the limit of the grid connection.
pub fn load(report: &Report) -> String {
    let day = &report.day;
    let kilowatts = |power: Watts| power.watts() as f64 / 1000.0;
    let uncontrolled = bins_of(day, &report.full_power);
    let limits: Vec<(Instant, f64)> = report
        .laddplan
        .periods
        .iter()
        .map(|period| (period.from, kilowatts(period.limit)))
        .collect();
    let tops = uncontrolled.iter().chain(&limits).map(|(_, value)| *value);
    let highest = (tops.fold(1.0, f64::max) / 50.0).ceil() * 50.0;
    let frame = Frame::of_day(day, 400.0, highest);
    let mut svg = frame.open("load by charging point, and limit", 50.0, |value| {
        format!("{value:.0} kW")
    });
    svg.push_str(&stack(&frame, day, &report.laddplan));
    svg.push_str(&frame.steps("uncontrolled", &uncontrolled));
    svg.push_str(&frame.steps("limit", &limits));
    svg.push_str(&frame.hours(day));
    svg.push_str("</svg>");
    svg
}

/// What energy costs over the day.
pub fn price(report: &Report) -> String {
    let day = &report.day;
    let cents: Vec<(Instant, f64)> = day
        .prices
        .since(day.start)
        .points()
        .iter()
        .filter(|(at, _)| *at < day.end)
        .map(|(at, price)| (*at, price.micros_per_kwh() as f64 / 10_000.0))
        .collect();
    let highest = cents.iter().map(|(_, value)| *value).fold(2.0, f64::max);
    let frame = Frame::of_day(day, 120.0, (highest / 2.0).ceil() * 2.0);
    let mut svg = frame.open("price of energy", 5.0, |value| format!("{value:.0} ¢"));
    svg.push_str(&frame.steps("price", &cents));
    svg.push_str(&frame.hours(day));
    svg.push_str("</svg>");
    svg
}

fn bins_of(day: &Day, figures: &Figures) -> Vec<(Instant, f64)> {
    let at = |bin: usize| day.start + Seconds::from_secs(BIN.secs() * bin as i64);
    let load = figures.load();
    let values = load.iter().enumerate();
    values
        .map(|(bin, power)| (at(bin), power.watts() as f64 / 1000.0))
        .collect()
}

/// One shape for each EVSE and each time that it draws without a break.
fn stack(frame: &Frame, day: &Day, figures: &Figures) -> String {
    let mut svg = String::from("<g class=\"stack\">");
    let mut below = vec![0.0; figures.bins.len()];
    for (panel, shades) in panels(day) {
        let members = day.evses.iter().enumerate().filter(|(_, evse)| evse.panel == panel);
        for (member, (evse, facts)) in members.enumerate() {
            let shade = shades[member % shades.len()];
            let above: Vec<f64> = figures
                .bins
                .iter()
                .zip(&below)
                .map(|(bin, below)| below + mean_kilowatts(bin[evse]))
                .collect();
            let mut path = String::new();
            let mut bin = 0;
            while bin < above.len() {
                let end = (bin..above.len())
                    .find(|later| above[*later] <= below[*later])
                    .unwrap_or(above.len());
                if end > bin {
                    path.push_str(&shape(frame, bin, &below[bin..end], &above[bin..end]));
                }
                bin = end + 1;
            }
            if !path.is_empty() {
                let _ = write!(
                    svg,
                    "<path fill=\"{shade}\" d=\"{path}\"><title>{}</title></path>",
                    facts.id
                );
            }
            below = above;
        }
    }
    svg.push_str("</g>");
    svg
}

fn shape(frame: &Frame, first: usize, below: &[f64], above: &[f64]) -> String {
    let x = |bin: usize| frame.x(frame.start + Seconds::from_secs(BIN.secs() * bin as i64));
    let mut path = format!("M{:.1} {:.1}", x(first), frame.y(below[0]));
    for (offset, value) in above.iter().enumerate() {
        let _ = write!(path, "V{:.1}H{:.1}", frame.y(*value), x(first + offset + 1));
    }
    for (offset, value) in below.iter().enumerate().rev() {
        let _ = write!(path, "V{:.1}H{:.1}", frame.y(*value), x(first + offset));
    }
    path.push('Z');
    path
}

fn mean_kilowatts(energy: WattSeconds) -> f64 {
    energy.watt_seconds() as f64 / BIN.secs() as f64 / 1000.0
}

/// For each session what was asked for, what the car could take, and what it got.
pub fn sessions(report: &Report) -> String {
    const HEIGHT: f64 = 330.0;
    const NAMES: f64 = 72.0;
    let day = &report.day;
    let kilowatt_hours = |energy: WattSeconds| energy.watt_seconds() as f64 / 3.6e6;
    let energies = day
        .sessions
        .iter()
        .flat_map(|session| [Some(session.energy), session.requested]);
    let highest = energies.flatten().map(kilowatt_hours).fold(1.0, f64::max);
    let highest = (highest / 20.0).ceil() * 20.0;
    let frame = Frame::of_day(day, HEIGHT - NAMES + AXIS, highest);
    let mut svg = frame
        .open("energy by session", 20.0, |value| format!("{value:.0} kWh"))
        .replacen(&format!("{WIDTH} {}", frame.height), &format!("{WIDTH} {HEIGHT}"), 1);
    let pitch = (WIDTH - LEFT - RIGHT) / day.sessions.len() as f64;
    for (index, (session, delivered)) in day.sessions.iter().zip(&report.laddplan.delivered).enumerate() {
        let x = LEFT + pitch * index as f64;
        let name = format!("{} {}", day.evses[session.evse].id, day.clock_time(session.arrival));
        let _ = write!(svg, "<g><title>{name}</title>");
        let mut bar = |class: &str, energy: WattSeconds, inset: f64| {
            let (top, bottom) = (frame.y(kilowatt_hours(energy)), frame.y(0.0));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                x + inset,
                pitch - 2.0 * inset,
                bottom - top,
            );
        };
        if let Some(requested) = session.requested {
            bar("asked", requested, 1.5);
        }
        bar("possible", session.energy, 3.0);
        bar("delivered", *delivered, 3.0);
        let (middle, foot) = (x + pitch / 2.0 + 3.0, frame.y(0.0) + 6.0);
        let _ = write!(
            svg,
            "<text class=\"name\" transform=\"translate({middle:.1} {foot:.1}) rotate(-90)\" text-anchor=\"end\">{name}</text></g>",
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::report::tests::example;

    #[test]
    fn the_top_of_the_stack_is_the_load() {
        let report = example();
        let frame = Frame::of_day(&report.day, 400.0, 300.0);
        let load = report.laddplan.load();
        let busiest = (0..load.len()).max_by_key(|bin| load[*bin]).unwrap();
        let top = frame.y(load[busiest].watts() as f64 / 1000.0);
        let svg = stack(&frame, &report.day, &report.laddplan);
        // Every EVSE belongs to a panel that is drawn, or the stack would end lower.
        let highest_drawn = svg
            .split(|letter: char| !(letter.is_ascii_digit() || letter == '.' || letter == 'V'))
            .filter_map(|token| token.strip_prefix('V').or_else(|| token.split('V').nth(1)))
            .filter_map(|number| number.parse::<f64>().ok())
            .fold(f64::MAX, f64::min);
        assert!((highest_drawn - top).abs() < 0.2, "{highest_drawn} against {top}");
    }

    #[test]
    fn the_limit_is_drawn_with_its_cut() {
        let report = example();
        let frame = Frame::of_day(&report.day, 400.0, 300.0);
        let points = [(report.day.start, 150.0), (report.day.cut.from, 75.0)];
        let line = frame.steps("limit", &points);
        let (x, high, low) = (frame.x(report.day.cut.from), frame.y(150.0), frame.y(75.0));
        assert!(
            line.contains(&format!("M58.0 {high:.1}H{x:.1}V{low:.1}H978.0")),
            "{line}"
        );
    }
}
