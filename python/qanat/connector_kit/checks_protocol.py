"""Checks of the conversation itself: handshake, errors, and that nothing else stands on standard output."""

from __future__ import annotations

import json

from qanat.connector_kit.kit import Check, Skipped
from qanat.connector_kit.subject import Subject
from qanat.connector_kit.talk import Fault, Talk


def _line(method: str, params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 90, "method": method, "params": params}).encode() + b"\n"


def _goes_on(talk: Talk) -> None:
    """After whatever was said, the next request is answered."""
    answer = talk.ask("ping", {})
    if answer != "pong":
        raise Fault(f'ping is answered with {answer!r}; it is "pong"')


def starts(subject: Subject) -> str:
    subject.share(subject.talk(1))
    return "it speaks version 1 where nothing else is offered"


def ping(subject: Subject) -> str:
    _goes_on(subject.shared())
    return '"pong"'


def version_2(subject: Subject) -> str:
    talk = subject.talk(2)
    subject.version = talk.version
    subject.share(talk)
    if subject.version == 1:
        return "it declines: version 1, up to 4 GiB a location, errors without a kind"
    return "it takes version 2"


def unknown_method(subject: Subject) -> str:
    talk = subject.shared()
    talk.refused(_line("no_such_method", {}), -32601, "a method that does not exist")
    _goes_on(talk)
    return "error -32601, and it goes on"


def not_json(subject: Subject) -> str:
    talk = subject.shared()
    talk.refused(b'{"jsonrpc": "2.0", "id": 1, "method"\n', -32700, "a line that is not JSON")
    _goes_on(talk)
    return "error -32700, and it goes on"


def parameters(subject: Subject) -> str:
    talk = subject.shared()
    talk.refused(_line("data", dict(subject.options.arguments)), -32602, "data without a location")
    _goes_on(talk)
    return "error -32602, and it goes on"


def notification(subject: Subject) -> str:
    talk = subject.shared()
    talk.notify("no_such_notification", {"x": 1})
    _goes_on(talk)
    return "ignored, without a reply"


def describe(subject: Subject) -> str:
    if subject.command is None:
        raise Skipped("the host describes it")
    if subject.version == 1:
        raise Skipped("version 1 has no describe")
    result = subject.shared().ask("describe", {})
    if not isinstance(result, dict) or not isinstance(result.get("name"), str):
        raise Fault('the result of describe has a text "name"')
    arguments = result.get("arguments")
    if not isinstance(arguments, dict) or not isinstance(arguments.get("properties", {}), dict):
        raise Fault('"arguments" in the result of describe is a JSON Schema of an object')
    said = result.get("capabilities")
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        raise Fault('"capabilities" in the result of describe is a list of texts')
    subject.described = result
    subject.capabilities = frozenset(said)
    names = ", ".join(arguments.get("properties", {})) or "none by name"
    return f"{result['name']}; arguments: {names}; capabilities: {', '.join(said) or 'none'}"


def stdout(subject: Subject) -> str:
    subject.drop()
    if subject.noise:
        raise Fault(f"{len(subject.noise)} lines that are no part of the protocol, first: {subject.noise[0][:100]!r}")
    return "nothing else was heard in all of the checks"


FIRST = (
    Check(
        "protocol.starts",
        "starts and shakes hands",
        "a host begins with a handshake, and gives up where it is not answered",
        starts,
        process=True,
    ),
    Check("protocol.ping", "answers ping", "a host asks whether a process is alive", ping, ("protocol.starts",), True),
    Check(
        "protocol.version_2",
        "takes or declines version 2",
        "a connector that does not know the offer has to ignore it",
        version_2,
        ("protocol.starts",),
        True,
    ),
    Check(
        "protocol.unknown_method",
        "refuses unknown methods",
        "later hosts ask for methods that this connector does not know",
        unknown_method,
        ("protocol.ping",),
        True,
    ),
    Check(
        "protocol.not_json",
        "survives what is not JSON",
        "one bad line must not end all the other fetches of the process",
        not_json,
        ("protocol.ping",),
        True,
    ),
    Check(
        "protocol.parameters",
        "refuses wrong parameters",
        "error -32602 says that the request is at fault and not the data",
        parameters,
        ("protocol.ping",),
        True,
    ),
    Check(
        "protocol.notification",
        "ignores unknown notifications",
        "a reply to a notification would be taken for that of another request",
        notification,
        ("protocol.ping",),
        True,
    ),
    Check(
        "describe.answers",
        "describes itself",
        "a host shows its arguments, and leaves to it what it can do itself",
        describe,
        ("protocol.version_2",),
    ),
)
LAST = (
    Check(
        "protocol.stdout",
        "keeps standard output for the protocol",
        "what is printed there breaks the framing for a host that is less patient than this kit",
        stdout,
        ("protocol.starts",),
        True,
    ),
)
