//! `laddplan alarm`: what operators should know of.

use super::client::{ClientArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::output;
use super::output::Form;
use crate::wire::json::{Layout, to_json};
use crate::wire::proto;
use clap::{Args, Subcommand};
use proto::alarm::Subject;
use tonic::Code;

#[derive(Debug, Subcommand)]
pub enum AlarmCommand {
    /// List the alarms that hold.
    List(ListArgs),
    /// Print the alarms that hold, then each that is raised, changes or is cleared.
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of this site only.
    #[arg(long)]
    site: Option<String>,
    /// Those that were cleared as well.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Of this site only.
    #[arg(long)]
    site: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: AlarmCommand) -> Result<(), Failure> {
    match command {
        AlarmCommand::List(args) => list(args),
        AlarmCommand::Watch(args) => watch(args),
    }
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let alarms = every_page(async |page| {
            let request = proto::ListAlarmsRequest {
                tenant_id: args.client.tenant.clone(),
                site_id: args.site.clone().unwrap_or_default(),
                include_cleared: args.all,
                page: Some(page),
            };
            let response = client
                .alarms()
                .list_alarms(request)
                .await
                .map_err(refused)?
                .into_inner();
            Ok((response.alarms, response.next_page_token))
        })
        .await?;
        let all = proto::ListAlarmsResponse {
            alarms,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| {
            let told: Vec<String> = all.alarms.iter().map(paragraph).collect();
            if told.is_empty() {
                "no alarm".to_owned()
            } else {
                told.join("\n\n")
            }
        })
    })
}

fn watch(args: WatchArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        loop {
            let request = proto::WatchAlarmsRequest {
                tenant_id: args.client.tenant.clone(),
                site_id: args.site.clone().unwrap_or_default(),
            };
            let mut alarms = client
                .alarms()
                .watch_alarms(request)
                .await
                .map_err(refused)?
                .into_inner();
            loop {
                match alarms.message().await {
                    Ok(Some(response)) => match client.form {
                        Form::Human => output::say(&response.alarm.as_ref().map(paragraph).unwrap_or_default())?,
                        // One line for each, so that a reader knows where it ends.
                        Form::Json => output::say(
                            &to_json(&response, Layout::Line).map_err(|error| Failure::Internal(error.to_string()))?,
                        )?,
                    },
                    Ok(None) => return Ok(()),
                    // Nothing happened for a long time, which is well.
                    Err(status) if status.code() == Code::DeadlineExceeded => break,
                    Err(status) => return Err(refused(status)),
                }
            }
        }
    })
}

/// What one alarm says, for people.
fn paragraph(alarm: &proto::Alarm) -> String {
    let severity = match alarm.severity() {
        proto::AlarmSeverity::Critical => "CRITICAL",
        proto::AlarmSeverity::Warning => "warning",
        proto::AlarmSeverity::Unspecified => "-",
    };
    let subject = match &alarm.subject {
        None => String::new(),
        Some(Subject::GatewayId(id)) => format!(", gateway {id}"),
        Some(Subject::NodeId(id)) => format!(", node {id}"),
        Some(Subject::EvseId(id)) => format!(", EVSE {id}"),
    };
    let kind = alarm
        .kind()
        .as_str_name()
        .trim_start_matches("ALARM_KIND_")
        .to_lowercase();
    let mut lines = vec![format!(
        "{severity} {}, site {}{subject}: {}",
        kind.replace('_', " "),
        alarm.site_id,
        alarm.what
    )];
    lines.push(format!("  {}", alarm.meaning));
    lines.push(format!("  {}", alarm.advice));
    if !alarm.evse_ids.is_empty() {
        lines.push(format!("  by: {}", alarm.evse_ids.join(", ")));
    }
    let mut times = format!("  since {}", output::time(alarm.since.as_ref()));
    match &alarm.cleared_at {
        Some(cleared) => times.push_str(&format!(
            ", last seen {}, cleared {}",
            output::time(alarm.last_seen.as_ref()),
            output::time(Some(cleared))
        )),
        None => times.push_str(&format!(", last seen {}", output::time(alarm.last_seen.as_ref()))),
    }
    if let Some(until) = &alarm.until {
        times.push_str(&format!(", over by {} at the latest", output::time(Some(until))));
    }
    if alarm.times > 1 {
        times.push_str(&format!(", {} times", alarm.times));
    }
    lines.push(times);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_says_what_it_is_about_since_when_and_what_to_do() {
        let at = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let alarm = proto::Alarm {
            site_id: "depot".to_owned(),
            number: 3,
            kind: proto::AlarmKind::AboveAvailable.into(),
            severity: proto::AlarmSeverity::Critical.into(),
            subject: Some(Subject::NodeId("grid".to_owned())),
            since: at(0),
            last_seen: at(60),
            cleared_at: None,
            times: 2,
            what: "L1 carries 201 dA of 200 dA".to_owned(),
            evse_ids: vec!["a".to_owned(), "b".to_owned()],
            until: at(900),
            meaning: "It means this.".to_owned(),
            advice: "Do that.".to_owned(),
        };
        assert_eq!(
            paragraph(&alarm),
            "CRITICAL above available, site depot, node grid: L1 carries 201 dA of 200 dA\n  It means this.\n  Do that.\n  by: a, b\n  \
             since 1970-01-01T00:00:00Z, last seen 1970-01-01T00:01:00Z, over by 1970-01-01T00:15:00Z at the latest, 2 times"
        );
    }
}
