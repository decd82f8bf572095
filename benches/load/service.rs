//! The service itself, as the binary that ships, in a process of its own with its store in a folder that is thrown away.
//!
//! Decides nothing about load: starts it, says where it listens, what it takes of memory and processor, and kills it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of a processor's time in a second, as Linux tells it.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Service {
    process: Child,
    pub address: String,
    /// The service's first token; empty where it was started on a folder that has one.
    pub first_token: String,
    /// From the start of the process until it listened.
    pub started_in: Duration,
}

impl Service {
    /// Starts on the store in `data`; `settings` are variables of the environment. Returns once it listens.
    #[expect(clippy::disallowed_methods, reason = "how long a start takes is measured here")]
    pub fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        let begun = Instant::now();
        let token_file = data.join("first-token");
        let is_new = !token_file.exists();
        let mut process = Command::new(env!("CARGO_BIN_EXE_laddplan"))
            .arg("serve")
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(data)
            .arg("--admin-token-file")
            .arg(&token_file)
            .env("LADDPLAN_LOG_FORMAT", "json")
            // There is one tenant, and all room is its.
            .env("LADDPLAN_LIMITS_TENANT_SHARE_PERCENT", "100")
            .env("LADDPLAN_LOG_FILTER", "error,laddplan::app=info")
            // All who call are of one address here.
            .env("LADDPLAN_LIMITS_CONNECTIONS_PER_ADDRESS", "10000")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            let read = log.read_line(&mut line).expect("the log is text");
            assert!(read > 0, "the service ended before it listened");
            if let Some(address) = listening(&line) {
                break address;
            }
            eprint!("{line}");
        };
        let started_in = begun.elapsed();
        // What it says from here on are errors, and its pipe must not fill.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        let first_token = if is_new {
            first_token(&token_file)
        } else {
            String::new()
        };
        Self {
            process,
            address,
            first_token,
            started_in,
        }
    }

    /// Resident memory in MiB.
    pub fn mebibytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes.unwrap_or(0.0) / 1024.0
    }

    /// Seconds of processor time so far, over all threads.
    pub fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        // After the name, which is in brackets: user and system time are the 12th and 13th.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    /// As if the power had gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Fails only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Written once the service listens.
fn first_token(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => std::thread::yield_now(),
        }
    }
}

fn listening(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["message"] == "listening").then(|| line["address"].as_str().unwrap_or_default().to_owned())
}
