//! What a caller needs for each call.
//!
//! Decides the scope of every method. What is not in the table is refused, also where the service has it: a new method needs a row
//! before anybody can call it, and a test holds the table against the protos.

use crate::domain::access::Scope::{self, Admin, Drivers, Gateway, Limits, PlanWrite, SiteRead};

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// No token: an orchestrator asks whether the service is well.
    Open,
    /// Any token.
    Anyone,
    Scope(Scope),
}

const PACKAGE: &str = "/laddplan.v1.";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] = ["/grpc.reflection.v1.", "/grpc.reflection.v1alpha."];

const METHODS: &[(&str, Right)] = &[
    ("SiteService/PutSite", Right::Scope(PlanWrite)),
    ("SiteService/GetSite", Right::Scope(SiteRead)),
    ("SiteService/GetRollout", Right::Scope(SiteRead)),
    ("SiteService/ListSites", Right::Scope(SiteRead)),
    ("SiteService/DeleteSite", Right::Scope(PlanWrite)),
    ("SiteService/StopSite", Right::Scope(Limits)),
    ("SiteService/SetGridLimit", Right::Scope(Limits)),
    ("SiteService/ListGridLimits", Right::Scope(SiteRead)),
    ("SiteService/RemoveGridLimit", Right::Scope(Limits)),
    ("SiteService/ReportNodeMeter", Right::Scope(PlanWrite)),
    ("SiteService/CheckEvse", Right::Scope(PlanWrite)),
    ("SiteService/AbortEvseCheck", Right::Scope(PlanWrite)),
    ("SiteService/GetEvseCheck", Right::Scope(SiteRead)),
    ("SiteService/SetPrices", Right::Scope(PlanWrite)),
    ("SiteService/SetForecast", Right::Scope(PlanWrite)),
    ("SessionService/StartSession", Right::Scope(PlanWrite)),
    ("SessionService/UpdateSession", Right::Scope(PlanWrite)),
    ("SessionService/OverrideSession", Right::Scope(PlanWrite)),
    ("SessionService/ReportMeter", Right::Scope(PlanWrite)),
    ("SessionService/EndSession", Right::Scope(PlanWrite)),
    ("SessionService/GetSession", Right::Scope(SiteRead)),
    ("SessionService/ListSessions", Right::Scope(SiteRead)),
    ("PlanService/Plan", Right::Scope(PlanWrite)),
    ("PlanService/GetPlan", Right::Scope(SiteRead)),
    ("PlanService/WatchPlan", Right::Scope(SiteRead)),
    ("AlarmService/ListAlarms", Right::Scope(SiteRead)),
    ("AlarmService/WatchAlarms", Right::Scope(SiteRead)),
    ("DriverService/PutDriverTokens", Right::Scope(Drivers)),
    ("DriverService/ListDriverTokens", Right::Scope(Drivers)),
    ("DriverService/ForgetDriver", Right::Scope(Drivers)),
    ("DriverService/PutDriverGroup", Right::Scope(Drivers)),
    ("DriverService/ListDriverGroups", Right::Scope(Drivers)),
    ("DriverService/RemoveDriverGroup", Right::Scope(Drivers)),
    ("DriverService/WatchAuthorizations", Right::Scope(Drivers)),
    ("DriverService/AnswerAuthorization", Right::Scope(Drivers)),
    ("GatewayService/Connect", Right::Scope(Gateway)),
    ("AdminService/GetCaller", Right::Anyone),
    ("AdminService/PutTenant", Right::Scope(Admin)),
    ("AdminService/GetTenant", Right::Scope(Admin)),
    ("AdminService/ListTenants", Right::Scope(Admin)),
    ("AdminService/RemoveTenant", Right::Scope(Admin)),
    ("AdminService/CreateToken", Right::Scope(Admin)),
    ("AdminService/ListTokens", Right::Scope(Admin)),
    ("AdminService/RotateToken", Right::Scope(Admin)),
    ("AdminService/RevokeToken", Right::Scope(Admin)),
    ("AdminService/ListAccessChanges", Right::Scope(Admin)),
];

/// What a call to `path` needs; `None` is more than anybody has.
pub(super) fn right(path: &str) -> Option<Right> {
    if path.starts_with(HEALTH) {
        return Some(Right::Open);
    }
    if is_reflection(path) {
        return Some(Right::Anyone);
    }
    let method = path.strip_prefix(PACKAGE)?;
    let row = METHODS.iter().find(|(name, _)| *name == method)?;
    Some(row.1)
}

pub(super) fn is_reflection(path: &str) -> bool {
    REFLECTION.iter().any(|reflection| path.starts_with(reflection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DESCRIPTORS;
    use prost::Message;
    use prost_types::FileDescriptorSet;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_has_its_right_and_no_row_is_about_nothing() {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
        let services = files.iter().flat_map(|file| &file.service);
        let methods: BTreeSet<String> = services
            .flat_map(|service| {
                let name =
                    |method: &prost_types::MethodDescriptorProto| format!("{}/{}", service.name(), method.name());
                service.method.iter().map(name)
            })
            .collect();
        let rows: BTreeSet<String> = METHODS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(rows, methods);
        assert_eq!(METHODS.len(), rows.len(), "no row stands there twice");
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        for path in [
            "/laddplan.v1.SiteService/PutSites",
            "/laddplan.v1.SiteService/",
            "/laddplan.v2.SiteService/PutSite",
            "/",
            "",
            "/grpc.health.v1.Healthy/Check",
        ] {
            assert_eq!(right(path), None, "{path}");
        }
        assert_eq!(right("/grpc.health.v1.Health/Watch"), Some(Right::Open));
        assert_eq!(right("/laddplan.v1.SiteService/StopSite"), Some(Right::Scope(Limits)));
    }
}
