#!/usr/bin/env python3
"""A gateway: takes charging profiles from laddplan and hands them to charging stations.

    pip install grpcio grpcio-tools protobuf
    laddplan serve                       # in another terminal; the first time it says how to make a token
    export LADDPLAN_TOKEN=laddplan_...   # with scope gateway
    python3 gateway.py                   # then run cpo_backend.py in a third one

Start from here: put your OCPP or OCPI connection into apply_to_station. The rest is the protocol: only a higher revision than the
last one is applied, every command is answered, and after a break nothing is lost or done twice.
"""
import argparse
import json
import os
import pathlib
import queue
import sys
import time

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "proto"))
pb, rpc = grpc.protos_and_services("laddplan/v1/gateway.proto")


def apply_to_station(command):
    """Your part. Returns an empty text once the station follows the profile, or why it does not."""
    periods = [f"{period.limit} from {period.start_period} s" for period in command.set_charging_profile.charging_profile_period]
    print(f"{command.evse_id}, revision {command.revision}: {', '.join(periods) or 'no profile'}", flush=True)
    return ""


def now():
    return Timestamp(seconds=int(time.time()))


def channel(args):
    """In clear on this machine, with TLS to any other. A token goes with each call, or a certificate names this gateway."""
    ca, key, certificate = (pathlib.Path(name).read_bytes() if name else None for name in (args.ca, args.key, args.certificate))
    transport = grpc.ssl_channel_credentials(ca, key, certificate) if ca else grpc.local_channel_credentials()
    if not certificate:
        token = grpc.access_token_call_credentials(os.environ["LADDPLAN_TOKEN"])
        transport = grpc.composite_channel_credentials(transport, token)
    return grpc.secure_channel(args.address, transport)


class Stream:
    """One connection, from hello to its end."""

    def __init__(self, args):
        self.args, self.up, self.number, self.carried_out, self.heartbeat = args, queue.Queue(), 0, 0, 10
        # Revisions survive a restart, so that an old command that comes late never undoes a newer one.
        self.file = pathlib.Path(args.state)
        self.applied = json.loads(self.file.read_text()) if self.file.exists() else {}

    def run(self):
        applied = [pb.EvseRevision(site_id=place.split()[0], evse_id=place.split()[1], revision=revision)
                   for place, revision in self.applied.items()]
        self.say(hello=pb.GatewayHello(gateway_id=self.args.gateway, applied=applied,
                                       fences_durably=True, clock=now()))
        for down in rpc.GatewayServiceStub(channel(self.args)).Connect(self.messages()):
            if down.HasField("welcome"):
                self.heartbeat = down.welcome.heartbeat_seconds
            elif down.HasField("command"):
                self.answer(down.command, "COMMAND_RESULT_FORWARDED")
                self.answer(down.command, *self.carry_out(down.command))
            elif down.HasField("refused"):
                print(f"refused: {'; '.join(down.refused.faults)}", file=sys.stderr)
            elif self.carried_out >= self.args.once and down.acknowledgement.number >= self.number:
                return

    def carry_out(self, command):
        place, self.carried_out = f"{command.site_id} {command.evse_id}", self.carried_out + 1
        if command.revision < self.applied.get(place, 0):
            return "COMMAND_RESULT_REJECTED", "a newer revision is applied"
        if command.revision > self.applied.get(place, 0):
            if why := apply_to_station(command):
                return "COMMAND_RESULT_REJECTED", why
            self.applied[place] = command.revision
            self.file.write_text(json.dumps(self.applied))
        return "COMMAND_RESULT_ACCEPTED", ""

    def answer(self, command, result, reason=""):
        self.say(answer=pb.CommandAnswer(site_id=command.site_id, evse_id=command.evse_id, revision=command.revision,
                                         attempt=command.attempt, result=result, reason=reason))

    def say(self, **message):
        self.number += 1
        self.up.put(pb.ConnectRequest(number=self.number, **message))

    def messages(self):
        """What goes up; a heartbeat where there is nothing else to say."""
        while True:
            try:
                yield self.up.get(timeout=self.heartbeat / 2)
            except queue.Empty:
                self.say(heartbeat=pb.GatewayHeartbeat(clock=now()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"address": "127.0.0.1:50051", "gateway": "gateway-1", "state": "gateway.json"}.items():
        parser.add_argument(f"--{name}", default=default)
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", help="a file in PEM, for TLS")
    parser.add_argument("--once", type=int, default=sys.maxsize, help="stop after so many commands")
    while True:
        try:
            sys.exit(Stream(parser.parse_args()).run())
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}; again in 2 s", file=sys.stderr, flush=True)
            time.sleep(2)
