//! `laddplan site meter`: tells by hand what a meter at a node shows.
//!
//! Decides how amperes and watts are written on the command line. The service decides what a reading means.

use super::client::{ClientArgs, refused, with_client};
use super::failure::Failure;
use crate::ocpi::decimal::Decimal;
use crate::wire::proto;
use clap::Args;

#[derive(Debug, Args)]
pub struct MeterArgs {
    /// Id of the site.
    site: String,
    /// Id of the node: the grid connection, a feeder or a panel.
    node: String,
    /// Amperes in L1, L2 and L3, such as 61.5,60,58.2. Negative where it feeds in.
    #[arg(
        long,
        value_name = "L1,L2,L3",
        allow_hyphen_values = true,
        required_unless_present = "watts"
    )]
    amperes: Option<String>,
    /// Watts in total. Negative where it feeds in.
    #[arg(long, allow_hyphen_values = true)]
    watts: Option<i64>,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: MeterArgs) -> Result<(), Failure> {
    let currents = args.amperes.as_deref().map(deciamperes).transpose()?;
    with_client(&args.client, async |client| {
        let reading = proto::NodeMeterReading {
            node_id: args.node.clone(),
            at: None,
            current_deciampere: currents.unwrap_or_default(),
            power_watt: args.watts,
        };
        let request = proto::ReportNodeMeterRequest {
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            readings: vec![reading],
        };
        let mut sites = client.sites();
        let response = sites.report_node_meter(request).await.map_err(refused)?.into_inner();
        client.form.say(&response, |response| match response.recorded {
            0 => "dropped: a reading of the same second or a later one is known".to_owned(),
            _ => "recorded".to_owned(),
        })
    })
}

/// Rounded up to tenths: what is drawn is never told as less.
fn deciamperes(text: &str) -> Result<Vec<i64>, Failure> {
    let lines: Option<Vec<i64>> = text
        .split(',')
        .map(|line| Decimal::parse(line.trim())?.ceil_tenths())
        .collect();
    let lines = lines.filter(|lines| lines.len() == 3);
    lines.ok_or_else(|| {
        Failure::BadInput(format!(
            "--amperes: is not for three lines; got {text}, allowed: three numbers such as 61.5,60,58.2"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amperes_are_read_line_by_line_and_rounded_up() {
        assert_eq!(deciamperes("61.5, 60,-0.31").unwrap(), [615, 600, -3]);
        assert_eq!(deciamperes("0,0,0.01").unwrap(), [0, 0, 1]);
        for wrong in ["", "1,2", "1,2,3,4", "1,2,x"] {
            assert!(deciamperes(wrong).is_err(), "{wrong}");
        }
    }
}
