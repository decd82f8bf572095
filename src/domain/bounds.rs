//! The largest values a request may carry. Within them, sums over a site fit in an `i64` with room to spare.
//!
//! Decides what counts as absurd; each bound is far above anything built today.

use crate::units::Seconds;

/// A node's total power: 100 MW.
pub const MAX_POWER_WATTS: i64 = 100_000_000;
/// A line current: 100 kA.
pub const MAX_CURRENT_DECIAMPS: i64 = 1_000_000;
/// Turns of a transformer: 1 000 to 1, above 110 kV to 400 V.
pub const MAX_TURNS_RATIO_PERMILLE: i64 = 1_000_000;
/// The rate of one AC connector: 500 A per phase.
pub const MAX_CONNECTOR_DECIAMPS: i64 = 5_000;
/// The rate of one DC connector: 4 MW, above MCS.
pub const MAX_CONNECTOR_WATTS: i64 = 4_000_000;
/// The energy of one session: 10 MWh, above any truck or ship's tender.
pub const MAX_ENERGY_WATT_HOURS: i64 = 10_000_000;
/// Nominal voltages: 100 V to 1 000 V.
pub const MIN_VOLTS: i64 = 100;
pub const MAX_VOLTS: i64 = 1_000;
/// A price of energy: ±1 000 per kWh.
pub const MAX_MICROS_PER_KWH: i64 = 1_000_000_000;
/// A demand charge: 100 000 per kW.
pub const MAX_MICROS_PER_KW: i64 = 100_000_000_000;
/// No session is planned further ahead than this.
pub const MAX_STAY: Seconds = Seconds::from_hours(24 * 14);
/// No event is dated further from the site's clock than this, before or after.
pub const MAX_EVENT_AGE: Seconds = Seconds::from_hours(24 * 14);

/// Points of an overload curve.
pub const MAX_OVERLOAD_POINTS: usize = 16;
pub const MAX_NODES_PER_SITE: usize = 2_000;
pub const MAX_EVSES_PER_SITE: usize = 10_000;
pub const MAX_CONNECTORS_PER_EVSE: usize = 8;
/// Rates that a connector may list instead of a step.
pub const MAX_LISTED_RATES: usize = 256;
pub const MAX_GRID_LIMITS_PER_SITE: usize = 1_000;
pub const MAX_PRICE_POINTS: usize = 10_000;
pub const MAX_FORECAST_POINTS: usize = 10_000;
pub const MAX_SLOTS: usize = 1_344;
/// Requests remembered per site, so that a repeat gets the same answer.
pub const MAX_REMEMBERED_REQUESTS: usize = 50_000;
