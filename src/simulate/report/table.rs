//! The table that the demo prints.

use super::Report;
use super::figures::{Row, rows, service_rows};

const LABEL_WIDTH: usize = 58;
const CELL_WIDTH: usize = 14;

pub fn text(report: &Report) -> String {
    let mut lines = vec![format!(
        "{}, site {}: {} cars at {} charging points",
        report.day.date.format("%A %-d %B %Y"),
        report.day.site.spec().id,
        report.day.sessions.len(),
        report.day.evses.len(),
    )];
    for (reason, count) in &report.day.left_out {
        lines.push(format!("left out: {count} sessions, because of each: {reason}"));
    }
    lines.push(String::new());
    lines.push(line("", &report.ways().map(|(name, _)| name.to_owned())));
    lines.extend(rows(report).iter().map(line_of));
    lines.push(String::new());
    lines.extend(service_rows(report).iter().map(line_of));
    lines.join("\n")
}

fn line_of<const WAYS: usize>(row: &Row<WAYS>) -> String {
    let indent = if row.detail { "  " } else { "" };
    line(&format!("{indent}{}", row.label), &row.cells)
}

fn line(label: &str, cells: &[String]) -> String {
    let mut line = format!("{label:<LABEL_WIDTH$}");
    for cell in cells {
        line.push_str(&format!("{cell:>CELL_WIDTH$}"));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::report::tests::example;

    #[test]
    fn every_row_is_aligned_and_fits_a_terminal() {
        let text = text(&example());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let load = text
            .lines()
            .find(|line| line.starts_with("Highest load while 75.0 kW"))
            .unwrap();
        assert!(load.contains("12:00 to 14:00"), "{load}");
        assert!(text.contains("Seconds above any limit otherwise"));
    }
}
