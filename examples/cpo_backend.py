#!/usr/bin/env python3
"""A CPO back end: describes a site to laddplan, starts a session, and sees what the car is planned to get.

    pip install grpcio grpcio-tools protobuf
    laddplan serve                       # in another terminal; the first time it says how to make a token
    export LADDPLAN_TOKEN=laddplan_...   # with scope site.read and plan.write
    python3 gateway.py --once 1          # in a third one, to see the profile arrive
    python3 cpo_backend.py

Start from here: every call below is one that a back end makes. Units stand in the field names: deciampere, watt_hour, micros.
"""
import argparse
import os
import pathlib
import sys
import time
import uuid

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

# Stubs made from the .proto files as they are; a product would generate them once with grpc_tools.protoc.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "proto"))
common = grpc.protos("laddplan/v1/common.proto")
site_pb, site_rpc = grpc.protos_and_services("laddplan/v1/site.proto")
session_pb, session_rpc = grpc.protos_and_services("laddplan/v1/session.proto")
plan_pb, plan_rpc = grpc.protos_and_services("laddplan/v1/plan.proto")


def connect(address):
    """The token goes with each call, which is for this machine only. From elsewhere: grpc.ssl_channel_credentials()."""
    token = grpc.access_token_call_credentials(os.environ["LADDPLAN_TOKEN"])
    return grpc.secure_channel(address, grpc.composite_channel_credentials(grpc.local_channel_credentials(), token))


def at(seconds_from_now):
    return Timestamp(seconds=int(time.time()) + seconds_from_now)


def meta():
    """A new id for each change. After a lost answer repeat the call with the same id: it is done once."""
    return common.RequestMeta(request_id=str(uuid.uuid4()))


def harbour(gateway):
    """A 63 A connection with three 32 A charging points on it. They charge nothing until they are told to (default 0 A)."""
    def point(number):
        connector = site_pb.Connector(
            id="1", star=site_pb.StarWiring(phases=["PHASE_L1", "PHASE_L2", "PHASE_L3"]), nominal_volt=230,
            minimum=common.Rate(current_deciampere=60), maximum=common.Rate(current_deciampere=320),
            default_rate=common.Rate(current_deciampere=0))
        evse = site_pb.Evse(id=f"evse-{number}", metered=True, connectors=[connector])
        return site_pb.Station(id=f"station-{number}", node_id="grid", evses=[evse])

    return site_pb.Site(
        id="harbour", time_zone="Europe/Stockholm", currency="SEK", mode="SITE_MODE_CONTROL", gateway_id=gateway,
        nodes=[site_pb.Node(id="grid", limit=common.NodeLimit(line_deciampere=630))],
        stations=[point(number) for number in (1, 2, 3)])


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--address", default="127.0.0.1:50051")
    args.add_argument("--gateway", default="gateway-1")
    args.add_argument("--stay", type=int, default=15, help="seconds until the car leaves")
    args = args.parse_args()
    channel = connect(args.address)
    sites, sessions = site_rpc.SiteServiceStub(channel), session_rpc.SessionServiceStub(channel)
    plans = plan_rpc.PlanServiceStub(channel)
    place = {"site_id": "harbour"}

    # The site, once; and what energy costs, once a day when the prices are known.
    sites.PutSite(site_pb.PutSiteRequest(meta=meta(), site=harbour(args.gateway)))
    hours = [site_pb.PricePoint(**{"from": at(3600 * hour)}, micros_per_kwh=price)
             for hour, price in enumerate([350_000, 400_000, 900_000, 1_200_000])]
    sites.SetPrices(site_pb.SetPricesRequest(meta=meta(), prices=hours, **place))

    # A car plugs in: its driver wants 20 kWh within four hours.
    session_id = str(uuid.uuid4())
    spec = session_pb.SessionSpec(id=session_id, evse_id="evse-1", arrival_time=at(0), departure_time=at(4 * 3600),
                                  need_watt_hour=20_000)
    receipt = sessions.StartSession(session_pb.StartSessionRequest(meta=meta(), session=spec, **place)).receipt
    print(f"session {session_id} is on disk, journal entry {receipt.sequence}")

    # Each new plan comes down this stream; the first ones may be older than the session.
    for update in plans.WatchPlan(plan_pb.WatchPlanRequest(**place), timeout=30):
        mine = [planned for planned in update.plan.sessions if planned.session_id == session_id]
        if mine:
            print(f"plan {update.provenance.number}: {mine[0].expected_watt_hour} Wh expected")
            for entry in mine[0].schedule:
                begin, end = getattr(entry, "from").ToDatetime(), entry.until.ToDatetime()
                print(f"  {begin:%H:%M} to {end:%H:%M} UTC: {entry.rate.current_deciampere / 10} A")
            break

    # The car leaves; until then its profile is renewed.
    time.sleep(args.stay)
    sessions.EndSession(session_pb.EndSessionRequest(meta=meta(), session_id=session_id, reason="unplugged", **place))


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        # What is wrong with a request is in the message, fault by fault.
        sys.exit(f"{error.code().name}: {error.details()}")
