//! What the messages of the API mean, and what is said about those that mean nothing.

use super::common::{rate, timestamp};
use super::json::{Layout, from_json, to_json};
use super::samples::{self, at, steps};
use super::session::{session_override, session_override_message, session_spec, session_spec_message};
use super::site::{
    forecast, forecast_messages, grid_limit, grid_limit_message, price_messages, prices, site_message, site_spec,
};
use super::{journal_proto, proto};
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::limits::LimitWindow;
use crate::domain::rejection::Rejection;
use crate::domain::session::{Car, Override, Session, SessionSpec, Stated};
use crate::domain::site::{Fairness, Mode, Site, SiteSpec, Steps};
use crate::units::{MicrosPerKwh, Seconds, WattSeconds, Watts};
use prost_types::Timestamp;

fn fields<T: std::fmt::Debug>(result: Result<T, Rejection>) -> Vec<String> {
    let rejection = result.expect_err("the message has faults");
    rejection.faults().iter().map(|fault| fault.field.clone()).collect()
}

fn read_site(message: &proto::Site) -> Result<SiteSpec, Rejection> {
    site_spec(&samples::tenant("cpo-1"), message)
}

#[test]
fn a_site_survives_the_wire_whole() {
    let spec = samples::site();
    Site::new(spec.clone()).expect("the sample is a valid site");
    assert_eq!(read_site(&site_message(&spec)).unwrap(), spec);
}

#[test]
fn what_a_site_leaves_out_gets_the_documented_defaults() {
    let mut message = site_message(&samples::site());
    message.lease_seconds = 0;
    message.clock_skew_seconds = None;
    message.reserve_permille = None;
    message.slot_seconds = 0;
    message.fairness = 0;
    let connectors = &mut message.stations[0].evses[1].connectors;
    connectors[0].step = None;
    connectors[0].max_profile_periods = 0;
    connectors[1].wiring = Some(proto::connector::Wiring::Dc(proto::DcWiring::default()));
    let spec = read_site(&message).unwrap();
    assert_eq!(
        (
            spec.lease,
            spec.clock_skew,
            spec.reserve_permille,
            spec.slot,
            spec.fairness
        ),
        (
            Seconds::from_secs(900),
            Seconds::from_secs(10),
            30,
            Seconds::from_secs(900),
            Fairness::MaxMin
        )
    );
    let connectors = &spec.stations[0].evses[1].connectors;
    assert_eq!(connectors[0].steps, Steps::Multiple(Rate::new(1)));
    assert_eq!(connectors[0].max_profile_periods, 24);
    assert_eq!(
        connectors[1].wiring,
        crate::domain::conversion::Wiring::Dc {
            efficiency_percent: 92,
            standby: Watts::ZERO
        }
    );
    message.clock_skew_seconds = Some(0);
    message.reserve_permille = Some(0);
    let spec = read_site(&message).unwrap();
    assert_eq!(
        (spec.clock_skew, spec.reserve_permille),
        (Seconds::ZERO, 0),
        "zero is not absent"
    );
}

#[test]
fn every_fault_of_a_site_is_told_by_its_place_in_the_message() {
    let mut message = site_message(&samples::site());
    message.id = "a b".to_owned();
    message.time_zone = "Europe/Atlantis".to_owned();
    message.mode = 0;
    message.reserve_permille = Some(-1);
    message.fairness = 9;
    message.nodes[1].id = String::new();
    message.nodes[1].parent_id = "å".to_owned();
    message.nodes[0].turns_ratio_permille = None;
    message.nodes[1].turns_ratio_permille = Some(4_000);
    message.stations[0].node_id = String::new();
    let connectors = &mut message.stations[0].evses[0].connectors;
    connectors[0].wiring = None;
    connectors[1].minimum = None;
    connectors[1].maximum = Some(proto::Rate {
        rate: Some(proto::rate::Rate::PowerWatt(1)),
    });
    connectors[1].step = Some(proto::Rate { rate: None });
    connectors[1].max_profile_periods = 70_000;
    assert_eq!(
        fields(read_site(&message)),
        [
            "id",
            "time_zone",
            "mode",
            "reserve_permille",
            "fairness",
            "nodes[0].turns_ratio_permille",
            "nodes[1].id",
            "nodes[1].parent_id",
            "nodes[1].turns_ratio_permille",
            "stations[0].node_id",
            "stations[0].evses[0].connectors[0].wiring",
            "stations[0].evses[0].connectors[1].max_profile_periods",
            "stations[0].evses[0].connectors[1].minimum",
            "stations[0].evses[0].connectors[1].maximum",
            "stations[0].evses[0].connectors[1].step",
        ]
    );
}

#[test]
fn a_list_that_no_site_can_have_is_refused_unread() {
    let mut message = site_message(&samples::site());
    message.nodes = vec![proto::Node::default(); 2_001];
    message.stations[0].evses = vec![proto::Evse::default(); 10_001];
    assert_eq!(fields(read_site(&message)), ["nodes", "stations[0].evses"]);
    message.stations = vec![proto::Station::default(); 10_001];
    assert_eq!(fields(read_site(&message)), ["nodes", "stations"]);
    let mut message = site_message(&samples::site());
    message.stations[0].evses[0].connectors = vec![proto::Connector::default(); 9];
    let connector = &mut message.stations[0].evses[1].connectors[0];
    connector.step = None;
    connector.allowed_rates = vec![proto::Rate::default(); 257];
    assert_eq!(
        fields(read_site(&message)),
        [
            "stations[0].evses[0].connectors",
            "stations[0].evses[1].connectors[0].allowed_rates"
        ]
    );
}

#[test]
fn an_unknown_enum_value_is_refused_with_the_names_that_are_allowed() {
    let mut message = site_message(&samples::site());
    message.mode = 7;
    assert_eq!(
        read_site(&message).unwrap_err().to_string(),
        "mode: is not known; got 7, allowed: SITE_MODE_OFF, SITE_MODE_SHADOW, SITE_MODE_CONTROL"
    );
}

#[test]
fn the_site_itself_names_rates_as_the_message_does() {
    let mut message = site_message(&samples::site());
    message.stations[0].evses[0].connectors[0].maximum = Some(proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(-3)),
    });
    let faults = fields(Site::new(read_site(&message).unwrap()));
    assert_eq!(
        faults[0],
        "stations[0].evses[0].connectors[0].maximum.current_deciampere"
    );
}

#[test]
fn limits_that_are_built_in_are_checked_under_their_names_in_the_message() {
    let mut message = site_message(&samples::site());
    message.nodes[0].unbalance_deciampere = Some(-1);
    message.nodes[0].primary_line_deciampere = Some(1_000_001);
    message.nodes[1].unbalance_deciampere = None;
    let faults = fields(Site::new(read_site(&message).unwrap()));
    assert_eq!(
        faults,
        ["nodes[0].unbalance_deciampere", "nodes[0].primary_line_deciampere"]
    );
    message.nodes[0].turns_ratio_permille = Some(0);
    assert_eq!(fields(read_site(&message)), ["nodes[0].turns_ratio_permille"]);
    message.nodes[0].turns_ratio_permille = Some(1_000_001);
    assert_eq!(fields(read_site(&message)), ["nodes[0].turns_ratio_permille"]);
}

#[test]
fn grid_limits_survive_the_wire_whole() {
    let open = LimitWindow::Once {
        from: at(5),
        until: None,
    };
    for limit in [samples::once_limit(), samples::weekly_limit()] {
        assert_eq!(grid_limit(&grid_limit_message(&limit)).unwrap(), limit);
    }
    let mut limit = samples::once_limit();
    limit.when = open;
    assert_eq!(grid_limit(&grid_limit_message(&limit)).unwrap(), limit);
}

#[test]
fn every_fault_of_a_grid_limit_is_told() {
    assert_eq!(
        fields(grid_limit(&proto::GridLimit::default())),
        ["id", "node_id", "source", "limit", "when"]
    );
    let mut message = grid_limit_message(&samples::once_limit());
    message.limit.as_mut().unwrap().line_deciampere = Some(-1);
    message.when = Some(proto::grid_limit::When::Once(proto::OnceWindow {
        from: Some(Timestamp { seconds: 9, nanos: 0 }),
        until: Some(Timestamp { seconds: 9, nanos: 5 }),
    }));
    assert_eq!(fields(grid_limit(&message)), ["limit.line_deciampere", "once.until"]);
    message.when = Some(proto::grid_limit::When::Weekly(proto::WeeklyWindow {
        days: vec![1, 8],
        from_minute_of_day: 1440,
        until_minute_of_day: -1,
    }));
    assert_eq!(
        fields(grid_limit(&message)),
        [
            "limit.line_deciampere",
            "weekly.days[1]",
            "weekly.from_minute_of_day",
            "weekly.until_minute_of_day"
        ]
    );
}

#[test]
fn prices_and_forecasts_survive_the_wire_whole() {
    let price = steps([5, -7, 0].map(MicrosPerKwh::from_micros_per_kwh));
    assert_eq!(prices(&price_messages(&price)).unwrap(), price);
    let power = steps([5, 0, 9].map(Watts::from_watts));
    assert_eq!(forecast(&forecast_messages(&power)).unwrap(), power);
}

#[test]
fn points_out_of_order_or_out_of_range_are_refused_each_by_its_index() {
    let point = |seconds, micros_per_kwh| proto::PricePoint {
        from: Some(Timestamp { seconds, nanos: 0 }),
        micros_per_kwh,
    };
    let mut points = vec![point(10, 1), point(10, 2), point(20, i64::MIN), point(-1, 3)];
    points.push(proto::PricePoint::default());
    assert_eq!(
        fields(prices(&points)),
        ["[1].from", "[2].micros_per_kwh", "[3].from", "[4].from"]
    );
    assert_eq!(fields(prices(&[])), [""]);
    assert_eq!(fields(prices(&vec![point(1, 1); 10_001])), [""]);
    let negative = proto::ForecastPoint {
        from: Some(Timestamp { seconds: 1, nanos: 0 }),
        power_watt: -1,
    };
    assert_eq!(fields(forecast(&[negative])), ["[0].power_watt"]);
}

#[test]
fn a_session_survives_the_wire_but_for_its_driver_and_parts_of_watt_hours() {
    for spec in [samples::session(), samples::bare_session()] {
        let message = session_spec_message(&spec);
        assert_eq!(message.driver_token, None);
        let floor = |energy: WattSeconds| WattSeconds::from_watt_hours(energy.floor_watt_hours());
        let expected = SessionSpec {
            need: match spec.need {
                Stated::Estimated(need) => Stated::Estimated(floor(need)),
                other => other,
            },
            guaranteed: floor(spec.guaranteed),
            ..spec.clone()
        };
        assert_eq!(session_spec(&message, spec.driver.clone()).unwrap(), expected);
    }
}

#[test]
fn every_fault_of_a_session_is_told() {
    let watt = |value| proto::Rate {
        rate: Some(proto::rate::Rate::PowerWatt(value)),
    };
    let message = proto::SessionSpec {
        departure_time: Some(Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        need_watt_hour: Some(i64::MAX),
        guaranteed_watt_hour: i64::MIN,
        tier: 10,
        group_id: "a\n".to_owned(),
        car: Some(proto::Car {
            phase_count: 4,
            maximum: Some(watt(1)),
            minimum: Some(proto::Rate { rate: None }),
        }),
        ..Default::default()
    };
    assert_eq!(
        fields(session_spec(&message, None)),
        [
            "id",
            "evse_id",
            "arrival_time",
            "departure_time",
            "need_watt_hour",
            "guaranteed_watt_hour",
            "tier",
            "group_id",
            "car.phase_count",
            "car.minimum"
        ]
    );
}

#[test]
fn a_cars_rates_must_be_in_the_unit_of_its_connector() {
    let site = Site::new(SiteSpec {
        mode: Mode::Shadow,
        ..samples::site()
    })
    .unwrap();
    let now = samples::session().arrival;
    Session::start(samples::session(), &site, now).expect("watts at a DC connector");
    let unnamed = SessionSpec {
        car: Car {
            unit: None,
            ..samples::session().car
        },
        ..samples::session()
    };
    Session::start(unnamed, &site, now).expect("no unit is the connector's");
    let mut message = session_spec_message(&samples::session());
    let current = proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(160)),
    };
    let car = message.car.as_mut().unwrap();
    car.maximum = Some(current);
    assert_eq!(fields(session_spec(&message, None)), ["car.minimum"]);
    message.car.as_mut().unwrap().minimum = None;
    let spec = session_spec(&message, None).unwrap();
    assert_eq!(fields(Session::start(spec, &site, now)), ["car"]);
}

#[test]
fn overrides_are_read_as_written_and_unspecified_is_none_of_them() {
    for overridden in [Override::None, Override::Boost, Override::Pause, Override::HandBack] {
        assert_eq!(
            session_override(session_override_message(overridden) as i32).unwrap(),
            overridden
        );
    }
    assert_eq!(fields(session_override(0)), [""]);
    assert_eq!(fields(session_override(5)), [""]);
}

#[test]
fn time_drops_fractions_towards_the_past_and_has_bounds() {
    let message = |seconds, nanos| Timestamp { seconds, nanos };
    assert_eq!(timestamp(&message(7, 999_999_999)).unwrap(), at(7));
    assert_eq!(fields(timestamp(&message(-1, 0))), [""]);
    assert_eq!(fields(timestamp(&message(7_258_118_401, 0))), [""]);
    assert_eq!(fields(timestamp(&message(0, -1))), ["nanos"]);
}

#[test]
fn a_rate_in_another_unit_is_refused() {
    let message = proto::Rate {
        rate: Some(proto::rate::Rate::PowerWatt(11_000)),
    };
    assert_eq!(rate(&message, RateUnit::Watt).unwrap(), Rate::new(11_000));
    assert_eq!(fields(rate(&message, RateUnit::DeciAmpere)), [""]);
}

#[test]
fn json_has_proto_names_plain_numbers_and_zeros_that_were_set() {
    let limit = proto::NodeLimit {
        line_deciampere: Some(0),
        total_watt: None,
    };
    assert_eq!(to_json(&limit, Layout::Line).unwrap(), r#"{"line_deciampere":0}"#);
    let message = site_message(&samples::site());
    for layout in [Layout::Line, Layout::Pretty] {
        assert_eq!(
            from_json::<proto::Site>(&to_json(&message, layout).unwrap()).unwrap(),
            message
        );
    }
    let strings_too: proto::NodeLimit = from_json(r#"{"totalWatt": "12"}"#).unwrap();
    assert_eq!(strings_too.total_watt, Some(12));
}

#[test]
fn json_that_is_not_the_message_is_refused_with_its_place() {
    let error = |text| from_json::<proto::NodeLimit>(text).unwrap_err().to_string();
    let unknown = error("{\n  \"line_amps\": 3}");
    assert!(unknown.contains("laddplan.v1.NodeLimit") && unknown.contains("line_amps") && unknown.contains("line 2"));
    assert!(error("{\"total_watt\": 1.5}").contains("line 1"));
    assert!(error("{} {}").contains("trailing"));
    assert!(error("").contains("EOF"));
}

#[test]
fn a_time_that_json_cannot_say_is_an_error_and_no_panic() {
    let message = journal_proto::PricesSet {
        prices: vec![proto::PricePoint {
            from: Some(Timestamp {
                seconds: i64::MIN,
                nanos: 0,
            }),
            micros_per_kwh: 1,
        }],
    };
    assert!(to_json(&message, Layout::Line).is_err());
}
