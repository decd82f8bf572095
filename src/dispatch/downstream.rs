//! What a gateway is told, as a message.
//!
//! Decides nothing: a command is carried as the journal has it.

use crate::domain::profile::Instruction;
use crate::engine::ports::OutgoingCommand;
use crate::wire::common::timestamp_message;
use crate::wire::profile::charging_profile;
use crate::wire::proto;
use crate::wire::session::ocpi_session_message;

pub(super) fn profile_command(outgoing: &OutgoingCommand) -> proto::ProfileCommand {
    use proto::profile_command::Instruction as Arm;
    let command = &outgoing.command;
    proto::ProfileCommand {
        site_id: outgoing.key.site.to_string(),
        evse_id: command.evse.to_string(),
        connector_id: command.connector.to_string(),
        session_id: command.session.to_string(),
        ocpi_session: outgoing.ocpi.as_ref().map(ocpi_session_message),
        revision: command.revision.number().cast_signed(),
        attempt: command.attempt.cast_signed(),
        sent_at: Some(timestamp_message(command.sent_at)),
        instruction: Some(match &command.instruction {
            Instruction::Set(profile) => Arm::SetChargingProfile(charging_profile(profile, outgoing.minimum)),
            Instruction::Clear => Arm::ClearChargingProfile(proto::ClearProfile {}),
        }),
    }
}
