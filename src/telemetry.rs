//! Logs: one event a line, on standard error, as text or JSON.
//!
//! Decides that nothing in a log line can pose as another line or move a terminal's cursor: control characters are escaped.

use crate::config::{Log, LogFormat};
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends events to standard error from here on.
///
/// # Errors
/// If the filter is none, or logs are being sent somewhere already.
pub fn start(log: &Log) -> anyhow::Result<()> {
    subscriber(log, io::stderr)?.try_init()?;
    Ok(())
}

fn subscriber<W>(log: &Log, to: W) -> anyhow::Result<Box<dyn tracing::Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.filter)?)
        .with_ansi(false)
        .with_writer(Escaping(to));
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// Escapes control characters of everything that is written, except the line feed at its end. An event is written whole.
struct Escaping<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = escape_control(line);
        if line.len() < text.len() {
            escaped.push('\n');
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The text with each control character as its escape, `\n` or `\u001b`: one that JSON has too, so that its lines stay JSON.
pub fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let log = Log {
            filter: filter.to_owned(),
            format,
        };
        let subscriber = subscriber(&log, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    const HOSTILE: &str = "site\n2026-11-22T15:45:00Z ERROR forged\u{1b}[2J\u{7}\r\u{9b}";

    #[test]
    fn a_hostile_value_stays_on_its_line() {
        let text = logged("info", LogFormat::Text, || {
            tracing::info!(site = HOSTILE, shown = %HOSTILE, "got {HOSTILE}");
            tracing::info!("next");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(!lines[0].chars().any(char::is_control), "{text}");
        assert!(lines[0].contains("ERROR forged"));
    }

    #[test]
    fn json_is_one_object_a_line_with_the_value_whole() {
        let text = logged("info", LogFormat::Json, || tracing::info!(site = HOSTILE, "started"));
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["site"], HOSTILE);
        assert_eq!(event["message"], "started");
    }

    #[test]
    fn the_filter_decides_what_is_told() {
        let text = logged("warn,laddplan::telemetry=debug", LogFormat::Text, || {
            tracing::debug!("ours");
            tracing::trace!("too fine");
            tracing::info!(target: "sled", "not asked for");
        });
        assert!(
            text.contains("ours") && !text.contains("too fine") && !text.contains("not asked for"),
            "{text}"
        );
    }
}
