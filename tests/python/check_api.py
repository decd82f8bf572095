#!/usr/bin/env python3
"""Drives a running laddplan over gRPC as a stranger would: nothing but grpcio and server reflection, no file of this repository.

    pip install grpcio grpcio-reflection protobuf
    python3 tests/python/check_api.py --address 127.0.0.1:50051

Prints one line for each check, and exits with 1 at the first that fails. Every run makes a tenant of its own: the variable
LADDPLAN_TOKEN has a token that administers the service.
"""
import argparse
import os
import queue
import sys
import threading
import time
import uuid

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "laddplan.v1"
DEADLINE = 10
NOW = int(time.time())
TENANT = f"check-{uuid.uuid4()}"
CARD = {"type": "DRIVER_TOKEN_TYPE_EMAID", "uid": "DE8ACC12E46L89"}
SITE_ID = {"site_id": "yard"}
SITE = {"tenant_id": TENANT, **SITE_ID}


class Api:
    """Calls methods by name, with requests and answers as plain dictionaries (proto3 JSON with the names of the proto)."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def types(self, service, method):
        found = self.pool.FindServiceByName(f"{PACKAGE}.{service}").FindMethodByName(method)
        return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)

    def method(self, kind, service, method):
        request, response = self.types(service, method)
        return getattr(self.channel, kind)(
            f"/{PACKAGE}.{service}/{method}",
            request_serializer=lambda fields: json_format.ParseDict(fields, request()).SerializeToString(),
            response_deserializer=response.FromString)

    def call(self, service, method, **fields):
        return as_dict(self.method("unary_unary", service, method)(fields, timeout=DEADLINE))

    def change(self, service, method, request_id=None, **fields):
        return self.call(service, method, meta={"request_id": request_id or str(uuid.uuid4())}, **fields)

    def watch(self, service, method, **fields):
        for answer in self.method("unary_stream", service, method)(fields, timeout=DEADLINE):
            yield as_dict(answer)

    def refused(self, code, service, method, **fields):
        """The error of a call that must be refused with `code`."""
        try:
            answer = self.change(service, method, **fields)
        except grpc.RpcError as error:
            assert error.code() == code, f"{method}: {error.code().name} instead of {code.name}: {error.details()}"
            return error
        raise AssertionError(f"{method} took what it should refuse: {answer}")

    def faults(self, service, method, **fields):
        """The faults of a call that must be refused, by field."""
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, service, method, **fields)
        return bad_request(error)


def connect(address, token):
    """A channel of this machine whose calls carry a token."""
    carried = grpc.access_token_call_credentials(token)
    channel = grpc.secure_channel(address, grpc.composite_channel_credentials(grpc.local_channel_credentials(), carried))
    grpc.channel_ready_future(channel).result(timeout=DEADLINE)
    return channel


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def error_details_types():
    """google.rpc.Status and BadRequest, as far as they are read here."""
    file = descriptor_pb2.FileDescriptorProto(name="details.proto", package="details", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        into = file.message_type.add(name=name)
        for number, (field, kind, repeated, of) in enumerate(fields, 1):
            into.field.add(name=field, number=number, type=kind, type_name=of,
                           label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL)

    message("Detail", ("type_url", kinds.TYPE_STRING, False, None), ("value", kinds.TYPE_BYTES, False, None))
    message("Status", ("code", kinds.TYPE_INT32, False, None), ("message", kinds.TYPE_STRING, False, None),
            ("details", kinds.TYPE_MESSAGE, True, ".details.Detail"))
    message("Violation", ("field", kinds.TYPE_STRING, False, None), ("description", kinds.TYPE_STRING, False, None))
    message("BadRequest", ("field_violations", kinds.TYPE_MESSAGE, True, ".details.Violation"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"details.{name}")) for name in ("Status", "BadRequest")]


STATUS, BAD_REQUEST = error_details_types()


def bad_request(error):
    trailers = dict(error.trailing_metadata())
    assert "grpc-status-details-bin" in trailers, f"no details: {error.details()}"
    status = STATUS.FromString(trailers["grpc-status-details-bin"])
    details = [detail for detail in status.details if detail.type_url.endswith("google.rpc.BadRequest")]
    assert details, f"no BadRequest among {[detail.type_url for detail in status.details]}"
    violations = BAD_REQUEST.FromString(details[0].value).field_violations
    for violation in violations:
        assert "; got " in violation.description and "allowed: " in violation.description, violation.description
    return {violation.field: violation.description for violation in violations}


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + seconds))


def amps(amperes):
    return {"current_deciampere": amperes * 10}


def site(**changes):
    """A 40 A connection with two three-phase charging points."""
    def station(number):
        connector = {"id": "1", "star": {"phases": ["PHASE_L1", "PHASE_L2", "PHASE_L3"]}, "nominal_volt": 230, "minimum": amps(6),
                     "maximum": amps(32), "default_rate": amps(0), "step": amps(1)}
        evse = {"id": f"evse-{number}", "metered": True, "connectors": [connector]}
        return {"id": f"station-{number}", "node_id": "grid", "evses": [evse]}
    return {"id": "yard", "time_zone": "Europe/Stockholm", "currency": "SEK", "mode": "SITE_MODE_CONTROL",
            "gateway_id": "gateway", "nodes": [{"id": "grid", "limit": {"line_deciampere": 400}}],
            "stations": [station(1), station(2)], **changes}


def session(number, **changes):
    return {"id": f"session-{number}", "evse_id": f"evse-{number}", "arrival_time": at(0), "departure_time": at(4 * 3600),
            "need_watt_hour": "20000", "driver_token": CARD, **changes}


def check_health_and_reflection(api):
    health = api.channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=lambda _: b"",
                                     response_deserializer=bytes)
    assert health(None, timeout=DEADLINE) == b"\x08\x01", "not SERVING"
    ask = [reflection_pb2.ServerReflectionRequest(list_services="")]
    for version in ("v1alpha", "v1"):
        # The two versions have the same messages.
        info = api.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                         request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                                         response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        names = {service.name for service in next(info(iter(ask), timeout=DEADLINE)).list_services_response.service}
        expected = {f"{PACKAGE}.{name}" for name in ("SiteService", "SessionService", "PlanService", "GatewayService",
                                                    "AlarmService")}
        assert expected <= names, f"{version} lacks {expected - names}"


def check_every_fault_of_a_site_is_told(api):
    wrong = site(time_zone="Europe/Atlantis", currency="kronor", lease_seconds=1)
    wrong["nodes"] += [{"id": "second"}, {"id": "lost", "parent_id": "nowhere"}, {"id": "grid-2", "parent_id": "grid",
                                                                                "limit": {"total_watt": -1}}]
    faults = api.faults("SiteService", "PutSite", tenant_id=TENANT, site=wrong)
    assert len(faults) >= 5, faults
    for part in ("time_zone", "currency", "lease_seconds", "nodes[2].parent_id", "nodes[3].limit"):
        assert any(part in field for field in faults), f"nothing about {part}: {faults}"
    cycle = site(nodes=[{"id": "grid", "limit": {"line_deciampere": 400}}, {"id": "a", "parent_id": "b"},
                        {"id": "b", "parent_id": "a"}])
    assert api.faults("SiteService", "PutSite", tenant_id=TENANT, site=cycle)
    assert api.call("SiteService", "ListSites", tenant_id=TENANT) == {}, "a refused site was kept"


def check_a_site_is_kept_as_it_was_put(api):
    api.change("SiteService", "PutSite", tenant_id=TENANT, site=site())
    kept = api.call("SiteService", "GetSite", **SITE)
    assert kept["site"]["stations"][1]["evses"][0]["connectors"][0]["maximum"] == {"current_deciampere": "320"}, kept
    assert int(kept["sequence"]) >= 1


def check_a_repeated_request_is_done_once(api):
    request = {"request_id": "prices-1", **SITE, "prices": [{"from": at(0), "micros_per_kwh": "200000"},
                                                            {"from": at(7200), "micros_per_kwh": "800000"}]}
    first = api.change("SiteService", "SetPrices", **request)
    assert api.change("SiteService", "SetPrices", **request) == first
    error = api.refused(grpc.StatusCode.ALREADY_EXISTS, "SiteService", "SetPrices",
                        **{**request, "prices": [{"from": at(0), "micros_per_kwh": "1"}]})
    assert "prices-1" in error.details(), error.details()


def check_lists_come_in_pages(api):
    for number in range(5):
        limit = {"id": f"limit-{number}", "node_id": "grid", "source": "LIMIT_SOURCE_SITE_MANAGER",
                 "limit": {"line_deciampere": "300"}, "once": {"from": at(86_400), "until": at(90_000)}}
        api.change("SiteService", "SetGridLimit", **SITE, grid_limit=limit)
    ids, token = [], ""
    for _ in range(5):
        page = api.call("SiteService", "ListGridLimits", **SITE, page={"page_size": 2, "page_token": token})
        ids += [limit["id"] for limit in page["grid_limits"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert ids == [f"limit-{number}" for number in range(5)], ids
    for limit in ids:
        api.change("SiteService", "RemoveGridLimit", **SITE, grid_limit_id=limit)
    assert api.call("SiteService", "ListGridLimits", **SITE) == {}


def check_absurd_sessions_change_nothing(api):
    for changes, field in [({"departure_time": at(-60)}, "departure"), ({"need_watt_hour": "10000000000000"}, "need"),
                           ({"evse_id": "evse-9"}, "evse"), ({"tier": 12}, "tier"), ({"id": "two words"}, "id"),
                           ({"arrival_time": "1999-01-01T00:00:00Z"}, "arrival")]:
        faults = api.faults("SessionService", "StartSession", **SITE, session=session(1, **changes))
        assert any(field in fault for fault in faults), f"{changes}: {faults}"
    both = api.faults("SessionService", "StartSession", **SITE, session=session(1, evse_id="evse-9", departure_time=at(-60)))
    assert len(both) >= 2, both
    assert api.call("SessionService", "ListSessions", **SITE) == {}
    missing = {"tenant_id": TENANT, "site_id": "elsewhere"}
    api.refused(grpc.StatusCode.NOT_FOUND, "SessionService", "StartSession", **missing, session=session(1))
    foreign = {"tenant_id": "someone-else", "site_id": "yard"}
    api.refused(grpc.StatusCode.NOT_FOUND, "SessionService", "StartSession", **foreign, session=session(1))


class Gateway:
    """A gateway's stream, read by a thread."""

    def __init__(self, api, applied=()):
        self.up, self.down, self.number = queue.Queue(), queue.Queue(), 0
        self.say(hello={"tenant_id": TENANT, "gateway_id": "gateway", "fences_durably": True, "clock": at(0),
                        "applied": [{**SITE_ID, **entry} for entry in applied]})
        self.stream = api.method("stream_stream", "GatewayService", "Connect")(iter(self.up.get, None), timeout=60)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for message in self.stream:
                self.down.put(as_dict(message))
        except grpc.RpcError as error:
            self.down.put(error)

    def say(self, **message):
        self.number += 1
        self.up.put({"number": str(self.number), **message})

    def hear(self, kind):
        """The next message of this kind."""
        while True:
            message = self.down.get(timeout=DEADLINE)
            if isinstance(message, grpc.RpcError):
                raise message
            if kind in message:
                return message[kind]

    def answer(self, command, result):
        self.say(answer={key: command[key] for key in ("site_id", "evse_id", "revision", "attempt")} | {"result": result})

    def close(self):
        self.stream.cancel()


def check_an_unknown_gateway_is_turned_away(api):
    hello = {"number": "1", "hello": {"tenant_id": TENANT, "gateway_id": "stranger", "clock": at(0)}}
    stream = api.method("stream_stream", "GatewayService", "Connect")(iter([hello]), timeout=DEADLINE)
    try:
        answer = next(stream)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return
    raise AssertionError(f"a stranger was let in: {answer}")


def check_a_session_becomes_a_profile_at_the_gateway(api):
    gateway = Gateway(api)
    assert gateway.hear("welcome")["site_ids"] == ["yard"]
    api.change("SessionService", "StartSession", **SITE, session=session(1))
    command = gateway.hear("command")
    assert command["session_id"] == "session-1" and int(command["revision"]) >= 1, command
    is_ocpi_profile(command["set_charging_profile"])
    gateway.answer(command, "COMMAND_RESULT_FORWARDED")
    gateway.answer(command, "COMMAND_RESULT_ACCEPTED")
    while int(gateway.hear("acknowledgement")["number"]) < gateway.number:
        pass
    gateway.close()
    # After a break the gateway says what it has applied; an answered command does not come again.
    again = Gateway(api, applied=[{"evse_id": "evse-1", "revision": command["revision"]}])
    again.hear("welcome")
    api.change("SessionService", "StartSession", **SITE, session=session(2))
    later = again.hear("command")
    assert (later["evse_id"], int(later["revision"])) > ("evse-1", int(command["revision"])), later
    again.say(answer={**SITE_ID, "evse_id": "evse-2", "revision": "1000000", "attempt": 1, "result": "COMMAND_RESULT_ACCEPTED"})
    assert again.hear("refused")["faults"], "an answer to a revision never sent was taken"
    again.close()


def is_ocpi_profile(profile):
    """What OCPI 2.2.1 and common stations demand of a ChargingProfile."""
    assert profile["start_date_time"].endswith("Z") and profile["charging_rate_unit"] == "A", profile
    starts = [period["start_period"] for period in profile["charging_profile_period"]]
    limits = [period["limit"] for period in profile["charging_profile_period"]]
    assert starts[0] == 0 and all(a < b for a, b in zip(starts, starts[1:])), profile
    assert all(limit == 0 or 6 <= limit <= 32 for limit in limits), profile
    assert all(round(limit, 1) == limit for limit in limits), profile
    assert all(a != b for a, b in zip(limits, limits[1:])), profile


def check_the_plan_serves_both_and_keeps_the_limit(api):
    for update in api.watch("PlanService", "WatchPlan", **SITE):
        sessions = update["plan"].get("sessions", [])
        if {planned["session_id"] for planned in sessions} == {"session-1", "session-2"}:
            break
    assert update["plan"]["stats"]["verified"] is True, update["plan"]["stats"]
    assert all(int(planned["expected_watt_hour"]) >= 19_000 for planned in sessions), sessions
    moments = {entry["from"] for planned in sessions for entry in planned["schedule"]}
    for moment in moments:
        total = sum(int(entry["rate"].get("current_deciampere", 0)) for planned in sessions for entry in planned["schedule"]
                    if entry["from"] <= moment < entry["until"])
        assert total <= 400, f"{total} dA at {moment}"
    assert int(api.call("PlanService", "GetPlan", **SITE)["provenance"]["number"]) >= int(update["provenance"]["number"])


def check_a_plan_can_be_asked_for_once(api):
    request = {"site": site(mode="SITE_MODE_SHADOW"), "now": at(0), "sessions": [{"spec": session(1)}, {"spec": session(2)}],
               "prices": [{"from": at(0), "micros_per_kwh": "900000"}, {"from": at(7200), "micros_per_kwh": "100000"}]}
    plan = api.call("PlanService", "Plan", **request)
    assert plan["stats"]["verified"] is True and int(plan["stats"].get("unserved_watt_hour", 0)) < 200, plan["stats"]
    # Room for both after two hours, when energy is cheap; before that they are given only what does not fit then.
    early = sum(int(entry["rate"].get("current_deciampere", 0)) for planned in plan["sessions"] for entry in planned["schedule"]
                if entry["until"] <= at(3600))
    assert early == 0, plan["sessions"]
    for planned in plan["sessions"]:
        is_ocpi_profile(planned["charging_profile"])


def check_an_operator_can_pause_and_a_meter_counts(api):
    api.change("SessionService", "OverrideSession", **SITE, session_id="session-2", session_override="SESSION_OVERRIDE_PAUSE")
    reading = {"evse_id": "evse-1", "at": at(1), "session_energy_watt_hour": "1500", "power_watt": "11000",
               "current_deciampere": ["160", "160", "160"]}
    report = api.method("stream_unary", "SessionService", "ReportMeter")
    answer = as_dict(report(iter([{**SITE, "readings": [reading]}, {**SITE, "readings": [reading]}]), timeout=DEADLINE))
    assert answer == {"recorded": "1", "dropped": "1"}, answer
    first = api.call("SessionService", "GetSession", **SITE, session_id="session-1")["session"]
    assert first["delivered_watt_hour"] == "1500", first
    assert first["driver_ref"] and "driver_token" not in first["spec"], "personal data came back"
    second = api.call("SessionService", "GetSession", **SITE, session_id="session-2")["session"]
    assert second["session_override"] == "SESSION_OVERRIDE_PAUSE", second


def check_a_driver_can_be_forgotten(api):
    forget = {"tenant_id": TENANT, "token": CARD}
    assert api.call("DriverService", "ForgetDriver", **forget) == {"forgotten": 1}
    assert api.call("DriverService", "ForgetDriver", **forget) == {}


def check_ended_sessions_stay_listed(api):
    api.change("SessionService", "EndSession", **SITE, session_id="session-1", reason="unplugged", delivered_watt_hour="1600")
    active = api.call("SessionService", "ListSessions", **SITE)["sessions"]
    assert [kept["spec"]["id"] for kept in active] == ["session-2"]
    everyone = api.call("SessionService", "ListSessions", **SITE, include_ended=True)["sessions"]
    ended = {kept["spec"]["id"]: kept for kept in everyone}["session-1"]
    assert (ended["end_reason"], ended["delivered_watt_hour"]) == ("unplugged", "1600"), ended
    api.refused(grpc.StatusCode.INVALID_ARGUMENT, "SessionService", "StartSession", **SITE, session=session(1))


def check_a_limit_of_zero_is_legal_and_one_below_what_cannot_be_shed_warns(api):
    limit = {"id": "nothing", "node_id": "grid", "source": "LIMIT_SOURCE_DSO", "limit": {"line_deciampere": "0"},
             "once": {"from": at(0)}}
    api.change("SiteService", "SetGridLimit", **SITE, grid_limit=limit)
    connector = {"id": "1", "star_unknown": {"phase_count": 1}, "nominal_volt": 230, "minimum": amps(6), "maximum": amps(16)}
    evse = {"id": "old", "uncontrollable": True, "connectors": [connector]}
    stubborn = site(id="stubborn", stations=[{"id": "old-station", "node_id": "grid", "evses": [evse]}])
    api.change("SiteService", "PutSite", tenant_id=TENANT, site=stubborn)
    receipt = api.change("SiteService", "SetGridLimit", tenant_id=TENANT, site_id="stubborn", grid_limit=limit)["receipt"]
    assert receipt["warnings"], receipt


def check_a_message_that_is_too_large_is_refused(api):
    huge = {"id": "x" * (5 << 20)}
    try:
        api.change("SiteService", "PutSite", tenant_id=TENANT, site=huge)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED), error
        return
    raise AssertionError("a message of several megabytes was taken")


def check_a_deleted_site_is_gone(api):
    for site_id in ("yard", "stubborn"):
        api.change("SiteService", "DeleteSite", tenant_id=TENANT, site_id=site_id)
    assert api.call("SiteService", "ListSites", tenant_id=TENANT) == {}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--address", default="127.0.0.1:50051")
    address = args.parse_args().address
    administrator = Api(connect(address, os.environ["LADDPLAN_TOKEN"]))
    administrator.change("AdminService", "PutTenant", tenant={"id": TENANT})
    scopes = ["SCOPE_SITE_READ", "SCOPE_PLAN_WRITE", "SCOPE_LIMITS", "SCOPE_GATEWAY", "SCOPE_DRIVERS"]
    made = administrator.change("AdminService", "CreateToken", tenant_id=TENANT, scopes=scopes)
    api = Api(connect(address, made["secret"]))
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check(api)
            except (AssertionError, grpc.RpcError, queue.Empty, KeyError, StopIteration) as error:
                sys.exit(f"FAILED {name[6:].replace('_', ' ')}: {error!r}")
            print(f"ok {name[6:].replace('_', ' ')}")


if __name__ == "__main__":
    main()
