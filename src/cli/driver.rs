//! `laddplan driver`: who may draw power, and the answers about those who are asked about.

use super::client::{Client, ClientArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::output::Form;
use super::table::{Column, table};
use super::{input, output};
use crate::app;
use crate::domain::driver::MAX_TOKENS_PER_CALL;
use crate::engine::ports::Clock;
use crate::wire::json::{Layout, to_json};
use crate::wire::proto;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DriverCommand {
    /// List a token, or replace what is listed of it.
    Put(PutArgs),
    /// List all tokens of a file.
    Import(ImportArgs),
    /// Show the tokens that are listed.
    List(ListArgs),
    /// Erase a driver: what is listed of a token or contract, and what ties it to sessions.
    Forget(ForgetArgs),
    /// What drivers of a group are planned by.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Print each driver about whom somebody is to be asked, as they come.
    Watch(WatchArgs),
    /// Answer about one of them.
    Answer(AnswerArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Rfid,
    AppUser,
    /// A payment card, or whatever else is known for one session only.
    AdHocUser,
    /// The contract in a car, of ISO 15118.
    Emaid,
    Other,
}

impl From<Kind> for proto::DriverTokenType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Rfid => Self::Rfid,
            Kind::AppUser => Self::AppUser,
            Kind::AdHocUser => Self::AdHocUser,
            Kind::Emaid => Self::Emaid,
            Kind::Other => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whitelist {
    /// Its issuer is never asked.
    Always,
    /// It may be believed, and its issuer may be asked.
    Allowed,
    /// Its issuer is asked; where he does not answer, it is believed.
    AllowedOffline,
    /// Only its issuer's answer counts.
    Never,
}

impl From<Whitelist> for proto::Whitelist {
    fn from(whitelist: Whitelist) -> Self {
        match whitelist {
            Whitelist::Always => Self::Always,
            Whitelist::Allowed => Self::Allowed,
            Whitelist::AllowedOffline => Self::AllowedOffline,
            Whitelist::Never => Self::Never,
        }
    }
}

#[derive(Debug, Args)]
pub struct PutArgs {
    #[arg(value_enum)]
    kind: Kind,
    /// What the driver shows, compared without case.
    uid: String,
    /// Id of the contract behind it.
    #[arg(long, default_value = "")]
    contract: String,
    /// Id of the driver's group.
    #[arg(long, default_value = "")]
    group: String,
    /// It is listed, and not admitted.
    #[arg(long)]
    blocked: bool,
    /// Expires after so many days.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: Option<u16>,
    #[arg(long, value_enum, default_value = "allowed")]
    whitelist: Whitelist,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A `laddplan.v1.PutDriverTokensRequest` in proto3 JSON, with any number of tokens; `-` reads standard input.
    file: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those of this contract only.
    #[arg(long, default_value = "")]
    contract: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    #[arg(value_enum, required_unless_present = "contract")]
    kind: Option<Kind>,
    /// What the driver shows.
    #[arg(required_unless_present = "contract")]
    uid: Option<String>,
    /// Every token of this contract.
    #[arg(long, conflicts_with_all = ["kind", "uid"])]
    contract: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Create a group, or replace what is said of it.
    Put(PutGroupArgs),
    /// List groups.
    List(ListGroupsArgs),
    /// Remove a group; tokens that name it stay as they are.
    Remove(RemoveGroupArgs),
}

#[derive(Debug, Args)]
pub struct PutGroupArgs {
    /// Id of the group.
    group: String,
    /// In words.
    #[arg(long, default_value = "")]
    name: String,
    /// 1 (served first) to 9 (last).
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=9))]
    tier: Option<i32>,
    /// How long its cars stay.
    #[arg(long, value_name = "MINUTES")]
    stay_minutes: Option<u32>,
    /// What its cars need.
    #[arg(long, value_name = "WH")]
    need_watt_hour: Option<i64>,
    /// What its cars are promised.
    #[arg(long, value_name = "WH", default_value_t = 0)]
    guaranteed_watt_hour: i64,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListGroupsArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct RemoveGroupArgs {
    /// Id of the group.
    group: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Given {
    Allowed,
    Blocked,
    Expired,
    NoCredit,
    NotAllowed,
}

impl From<Given> for proto::Authorization {
    fn from(given: Given) -> Self {
        match given {
            Given::Allowed => Self::Allowed,
            Given::Blocked => Self::Blocked,
            Given::Expired => Self::Expired,
            Given::NoCredit => Self::NoCredit,
            Given::NotAllowed => Self::NotAllowed,
        }
    }
}

#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Id of the question, as it was printed.
    id: String,
    #[arg(value_enum)]
    answer: Given,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: DriverCommand) -> Result<(), Failure> {
    match command {
        DriverCommand::Put(args) => put(args),
        DriverCommand::Import(args) => import(args),
        DriverCommand::List(args) => list(args),
        DriverCommand::Forget(args) => forget(args),
        DriverCommand::Group(GroupCommand::Put(args)) => put_group(args),
        DriverCommand::Group(GroupCommand::List(args)) => list_groups(args),
        DriverCommand::Group(GroupCommand::Remove(args)) => remove_group(args),
        DriverCommand::Watch(args) => watch(args),
        DriverCommand::Answer(args) => answer(args),
    }
}

fn name(kind: Kind, uid: String) -> proto::DriverTokenName {
    proto::DriverTokenName {
        r#type: proto::DriverTokenType::from(kind).into(),
        uid,
    }
}

fn put(args: PutArgs) -> Result<(), Failure> {
    let now = app::SystemClock.now();
    let valid_until = args.days.map(|days| prost_types::Timestamp {
        seconds: now.unix_secs() + i64::from(days) * 86_400,
        nanos: 0,
    });
    let token = proto::DriverToken {
        name: Some(name(args.kind, args.uid)),
        contract_id: args.contract,
        valid: !args.blocked,
        valid_until,
        whitelist: proto::Whitelist::from(args.whitelist).into(),
        group_id: args.group,
        updated_at: None,
    };
    put_all(&args.client, vec![token])
}

fn import(args: ImportArgs) -> Result<(), Failure> {
    let all: proto::PutDriverTokensRequest = input::message(&args.file)?;
    put_all(&args.client, all.tokens)
}

/// In as many calls as it takes: where one is refused, those before it hold, and the same file may be imported again.
fn put_all(args: &ClientArgs, tokens: Vec<proto::DriverToken>) -> Result<(), Failure> {
    with_client(args, async |client| {
        let mut sum = proto::PutDriverTokensResponse::default();
        for some in tokens.chunks(MAX_TOKENS_PER_CALL) {
            let request = proto::PutDriverTokensRequest {
                tenant_id: args.tenant.clone(),
                tokens: some.to_vec(),
            };
            let put = client.drivers().put_driver_tokens(request).await;
            let put = put.map_err(refused)?.into_inner();
            sum.changed += put.changed;
            sum.outdated += put.outdated;
        }
        client.form.say(&sum, |sum| {
            format!(
                "{} of {} tokens were new or changed; {} were older than what is listed",
                sum.changed,
                tokens.len(),
                sum.outdated
            )
        })
    })
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let tokens = every_page(async |page| {
            let request = proto::ListDriverTokensRequest {
                tenant_id: args.client.tenant.clone(),
                page: Some(page),
                contract_id: args.contract.clone(),
            };
            let response = client.drivers().list_driver_tokens(request).await;
            let response = response.map_err(refused)?.into_inner();
            Ok((response.tokens, response.next_page_token))
        })
        .await?;
        let all = proto::ListDriverTokensResponse {
            tokens,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| tokens_table(&all.tokens))
    })
}

fn forget(args: ForgetArgs) -> Result<(), Failure> {
    use proto::forget_driver_request::Driver;
    let driver = match (args.contract, args.kind.zip(args.uid)) {
        (Some(contract), _) => Some(Driver::ContractId(contract)),
        (None, token) => token.map(|(kind, uid)| Driver::Token(name(kind, uid))),
    };
    with_client(&args.client, async |client| {
        let request = proto::ForgetDriverRequest {
            tenant_id: args.client.tenant.clone(),
            driver,
        };
        let response = client.drivers().forget_driver(request).await;
        let response = response.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| format!("{} tokens forgotten", response.forgotten))
    })
}

fn put_group(args: PutGroupArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::PutDriverGroupRequest {
            tenant_id: args.client.tenant.clone(),
            group: Some(proto::DriverGroup {
                id: args.group.clone(),
                name: args.name.clone(),
                tier: args.tier.unwrap_or_default(),
                stay_seconds: args.stay_minutes.map_or(0, |minutes| i64::from(minutes) * 60),
                need_watt_hour: args.need_watt_hour.unwrap_or_default(),
                guaranteed_watt_hour: args.guaranteed_watt_hour,
            }),
        };
        let response = client.drivers().put_driver_group(request).await;
        let response = response.map_err(refused)?.into_inner();
        client.form.say(&response, |_| format!("group {} is kept", args.group))
    })
}

fn list_groups(args: ListGroupsArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let groups = every_page(async |page| {
            let request = proto::ListDriverGroupsRequest {
                tenant_id: args.client.tenant.clone(),
                page: Some(page),
            };
            let response = client.drivers().list_driver_groups(request).await;
            let response = response.map_err(refused)?.into_inner();
            Ok((response.groups, response.next_page_token))
        })
        .await?;
        let all = proto::ListDriverGroupsResponse {
            groups,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| groups_table(&all.groups))
    })
}

fn remove_group(args: RemoveGroupArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::RemoveDriverGroupRequest {
            tenant_id: args.client.tenant.clone(),
            group_id: args.group.clone(),
        };
        let response = client.drivers().remove_driver_group(request).await;
        let response = response.map_err(refused)?.into_inner();
        client.form.say(&response, |response| {
            let was = if response.was_there { "removed" } else { "not there" };
            format!("group {} was {was}", args.group)
        })
    })
}

fn watch(args: WatchArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::WatchAuthorizationsRequest {
            tenant_id: args.client.tenant.clone(),
        };
        let questions = client.drivers().watch_authorizations(request).await;
        let mut questions = questions.map_err(refused)?.into_inner();
        while let Some(question) = questions.message().await.map_err(refused)? {
            tell(&client, &question)?;
        }
        Ok(())
    })
}

fn tell(client: &Client, question: &proto::WatchAuthorizationsResponse) -> Result<(), Failure> {
    match client.form {
        Form::Human => {
            let token = question.token.clone().unwrap_or_default();
            output::say(&format!(
                "{}  {} {} at EVSE {}, site {}, session {}",
                question.authorization_id,
                kind_of(&token),
                token.uid,
                question.evse_id,
                question.site_id,
                question.session_id
            ))
        }
        // One line for each, so that a reader knows where it ends.
        Form::Json => {
            let line = to_json(question, Layout::Line).map_err(|error| Failure::Internal(error.to_string()))?;
            output::say(&line)
        }
    }
}

fn answer(args: AnswerArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::AnswerAuthorizationRequest {
            tenant_id: args.client.tenant.clone(),
            authorization_id: args.id.clone(),
            authorization: proto::Authorization::from(args.answer).into(),
        };
        let response = client.drivers().answer_authorization(request).await;
        let response = response.map_err(refused)?.into_inner();
        client.form.say(&response, |response| {
            let counted = if response.counted {
                "the answer counts"
            } else {
                "the answer does not count: the question was answered already, or waits no more"
            };
            counted.to_owned()
        })
    })
}

/// As OCPI writes it.
fn kind_of(name: &proto::DriverTokenName) -> &'static str {
    name.r#type().as_str_name().trim_start_matches("DRIVER_TOKEN_TYPE_")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn tokens_table(tokens: &[proto::DriverToken]) -> String {
    let rows: Vec<[String; 7]> = tokens
        .iter()
        .map(|token| {
            let name = token.name.clone().unwrap_or_default();
            [
                kind_of(&name).to_owned(),
                name.uid,
                or_dash(&token.contract_id),
                or_dash(&token.group_id),
                if token.valid { "valid" } else { "blocked" }.to_owned(),
                output::time(token.valid_until.as_ref()),
                token
                    .whitelist()
                    .as_str_name()
                    .trim_start_matches("WHITELIST_")
                    .to_owned(),
            ]
        })
        .collect();
    let columns = [
        Column::Left("type"),
        Column::Left("uid"),
        Column::Left("contract"),
        Column::Left("group"),
        Column::Left("state"),
        Column::Left("until"),
        Column::Left("whitelist"),
    ];
    table(columns, &rows)
}

fn groups_table(groups: &[proto::DriverGroup]) -> String {
    let or_dash = |value: i64, told: String| if value == 0 { "-".to_owned() } else { told };
    let rows: Vec<[String; 6]> = groups
        .iter()
        .map(|group| {
            [
                group.id.clone(),
                group.name.clone(),
                or_dash(group.tier.into(), group.tier.to_string()),
                or_dash(group.stay_seconds, (group.stay_seconds / 60).to_string()),
                or_dash(group.need_watt_hour, output::kwh(group.need_watt_hour)),
                or_dash(group.guaranteed_watt_hour, output::kwh(group.guaranteed_watt_hour)),
            ]
        })
        .collect();
    let columns = [
        Column::Left("group"),
        Column::Left("name"),
        Column::Right("tier"),
        Column::Right("stay min"),
        Column::Right("need kWh"),
        Column::Right("promised kWh"),
    ];
    table(columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_groups_are_listed_with_what_is_said_of_them() {
        let token = proto::DriverToken {
            name: Some(name(Kind::AppUser, "anna".to_owned())),
            whitelist: proto::Whitelist::AllowedOffline.into(),
            ..Default::default()
        };
        assert_eq!(
            tokens_table(&[token]),
            "type      uid   contract  group  state    until  whitelist\n\
             APP_USER  anna  -         -      blocked  -      ALLOWED_OFFLINE"
        );
        let group = proto::DriverGroup {
            id: "pool".to_owned(),
            name: "Car pool".to_owned(),
            tier: 2,
            stay_seconds: 32_400,
            need_watt_hour: 12_000,
            guaranteed_watt_hour: 0,
        };
        assert_eq!(
            groups_table(&[group]),
            "group  name      tier  stay min  need kWh  promised kWh\n\
             pool   Car pool     2       540      12.0             -"
        );
    }
}
