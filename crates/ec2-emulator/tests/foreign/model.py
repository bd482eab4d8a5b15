"""Whether an exchange is as botocore's service models say: what `ec2`, `autoscaling`, `sts` and `ssm` take and answer.

A reply may hold only what its operation's output shape knows, in the form that it has there. A request that was
carried out must be one that the model knows; one that was refused may be wrong in just what it was refused for.
"""

import datetime
import json
import re
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qsl

import botocore
import botocore.session

VERSION = f"botocore {botocore.__version__}"

# What EC2, as its documentation shows it, is known to do otherwise than its model says.
#
# Operations without an output shape answer `<return>true</return>`: the examples of DeleteVolume, CreateTags, ... in
# the EC2 API reference.
RETURN_WITHOUT_OUTPUT = {"return": "true"}
# The namespace ends with a slash on the wire, and does not in the model: the same examples.
EC2_NAMESPACES = {"http://ec2.amazonaws.com/doc/2016-11-15/"}
# Errors of Auto Scaling and STS that no operation lists: "Common errors" of their API references.
COMMON_QUERY_ERRORS = {
    "AccessDenied", "InternalFailure", "InvalidAction", "InvalidNextToken", "InvalidParameterCombination",
    "InvalidParameterValue", "MissingAction", "MissingParameter", "ServiceUnavailable", "SignatureDoesNotMatch",
    "Throttling", "Unavailable", "UnauthorizedOperation", "ValidationError",
}
# An action that a service does not have is answered before the service is known, in the namespace of the front end.
FRONT_END_NAMESPACE = "http://webservices.amazon.com/AWSFault/2005-15-09"
# "Common errors" of the SSM API reference. Each has a `message`.
COMMON_JSON_ERRORS = {
    "AccessDeniedException", "InternalFailure", "InvalidSignatureException", "ServiceUnavailable", "ThrottlingException",
    "UnknownOperationException", "ValidationException",
}

# The codes with which a request may be refused that the model does not know, or knows otherwise.
UNKNOWN_ACTION = {"InvalidAction", "MissingAction"}
UNKNOWN_PARAMETER = "UnknownParameter"
WRONG_VALUE = {
    "InvalidParameterValue", "InvalidParameterCombination", "InvalidVolumeID.Malformed", "InvalidInstanceID.Malformed",
    "InvalidSnapshotID.Malformed", "InvalidAMIID.Malformed", "InvalidInstanceType", "InvalidInstanceAttributeValue",
    "UnknownVolumeType", "ValidationError", "ValidationException", "InvalidDocument", "InvalidInstanceId",
}
MISSING = {"MissingParameter", "MissingAction", "ValidationError", "ValidationException", "InvalidParameterCombination"}

# `2016-11-15` is EC2's version, and so on.
SERVICES = {"2016-11-15": "ec2", "2011-01-01": "autoscaling", "2011-06-15": "sts"}
ERROR_CODE = re.compile(r"[A-Z][A-Za-z0-9]+(\.[A-Z][A-Za-z0-9]+)*")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
INTEGER = re.compile(r"-?\d+")
FLOAT = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
RANGES = {"integer": 2**31, "long": 2**63}

_session = botocore.session.get_session()
_models = {}


def service(name):
    if name not in _models:
        _models[name] = _session.get_service_model(name)
    return _models[name]


def check(exchange):
    """The differences between an exchange and the models, as text; none if it is as they say."""
    if exchange["target"] is not None:
        return JsonExchange(exchange).check()
    return QueryExchange(exchange).check()


class Exchange:
    def __init__(self, exchange):
        self.status = exchange["status"]
        self.request = exchange["request"]
        self.reply = exchange["reply"]
        self.differences = []
        self.operation = None
        # The code that the request was refused with.
        self.code = None

    def differ(self, place, what):
        self.differences.append(f"{place}: {what}")

    def expect(self, holds, place, what):
        if not holds:
            self.differ(place, what)

    def refused_for(self, codes):
        return self.code in codes

    def limits(self, place, value, shape):
        """Length, range, pattern and enumeration of a value."""
        differ = self.differ
        if enum := getattr(shape, "enum", None):
            if value not in enum:
                differ(place, f"{value!r} is not in {shape.name}: {some(enum)}")
        measured = value if isinstance(value, (int, float)) else len(value)
        for name, wrong in (("min", measured < shape.metadata.get("min", measured)),
                            ("max", measured > shape.metadata.get("max", measured))):
            if wrong:
                differ(place, f"{value!r} is beyond {shape.name}'s {name}, {shape.metadata[name]}")
        pattern = shape.metadata.get("pattern")
        if pattern and isinstance(value, str) and not matches(pattern, value):
            differ(place, f"{value!r} is not as {shape.name}'s pattern {pattern}")

    def text(self, place, text, shape):
        """A scalar as the Query protocol writes it."""
        kind = shape.type_name
        value = text
        if kind in RANGES:
            if not INTEGER.fullmatch(text) or not -RANGES[kind] <= int(text) < RANGES[kind]:
                return self.differ(place, f"{text!r} is no {kind} ({shape.name})")
            value = int(text)
        elif kind in ("float", "double"):
            if not FLOAT.fullmatch(text):
                return self.differ(place, f"{text!r} is no {kind} ({shape.name})")
            value = float(text)
        elif kind == "boolean":
            if text not in ("true", "false"):
                self.differ(place, f"{text!r} is no boolean ({shape.name})")
            return
        elif kind == "timestamp":
            if not is_time(text):
                self.differ(place, f"{text!r} is no time ({shape.name}): expected as 2026-01-01T00:00:00.000Z")
            return
        self.limits(place, value, shape)


class QueryExchange(Exchange):
    """EC2, Auto Scaling and STS: a form, and XML."""

    def check(self):
        pairs = parse_qsl(self.request, keep_blank_values=True)
        form = dict(pairs)
        self.expect(len(form) == len(pairs), "request", "a parameter is given twice")
        self.action = form.pop("Action", "")
        version = form.pop("Version", "")
        name = SERVICES.get(version)
        if name is None:
            return [f"request: Version={version!r} is no version of {', '.join(SERVICES.values())}"]
        self.model = service(name)
        self.is_ec2 = name == "ec2"
        try:
            root = ElementTree.fromstring(self.reply)
        except ElementTree.ParseError as error:
            return [f"{self.action} reply: {error}"]
        if self.action in self.model.operation_names:
            self.operation = self.model.operation_model(self.action)
        if self.status == 200:
            if self.operation is None:
                return [f"request: {name} has no {self.action}, which was carried out"]
            self.success(root)
        else:
            self.error(root)
        if self.operation is not None:
            # One with an unknown parameter was refused for its form: nothing else of it was looked at.
            if self.code != UNKNOWN_PARAMETER:
                self.parameters(form)
        else:
            self.expect(self.code in UNKNOWN_ACTION, "reply", f"{name} has no {self.action!r}, refused as {self.code}")
        return self.differences

    # Replies

    def success(self, root):
        place = f"{self.action} reply"
        self.root(root, f"{self.action}Response", self.namespaces())
        output = self.operation.output_shape
        children = list(root)
        if self.is_ec2:
            ids = [child for child in children if local(child) == "requestId"]
            self.expect(len(ids) == 1 and text_of(ids[0]), place, "expected one requestId")
            rest = [child for child in children if local(child) != "requestId"]
            if output is None:
                found = {local(child): text_of(child) for child in rest}
                self.expect(found == RETURN_WITHOUT_OUTPUT, place, f"expected <return>true</return>, not {found}")
            else:
                self.members(place, rest, output)
            return
        wrapper = output.serialization.get("resultWrapper") if output is not None else None
        wrapper = wrapper or (f"{self.action}Result" if output is not None else None)
        expected = ([wrapper] if wrapper else []) + ["ResponseMetadata"]
        found = [local(child) for child in children]
        if found != expected:
            return self.differ(place, f"expected {expected}, not {found}")
        if wrapper:
            self.structure(f"{place}/{wrapper}", children[0], output)
        metadata = [(local(child), bool(text_of(child))) for child in children[-1]]
        self.expect(metadata == [("RequestId", True)], place, f"ResponseMetadata has {metadata}, not one RequestId")

    def namespaces(self):
        return EC2_NAMESPACES if self.is_ec2 else {self.model.metadata["xmlNamespace"]}

    def root(self, root, name, namespaces):
        found, tag = namespace(root), local(root)
        self.expect(tag == name, "reply", f"the root is {tag}, not {name}")
        self.expect(found in namespaces, "reply", f"the namespace is {found!r}, not {' or '.join(map(repr, namespaces))}")
        for element in root.iter():
            self.expect(namespace(element) == found, "reply", f"{local(element)} is in another namespace")
            self.expect(not element.attrib, "reply", f"{local(element)} has attributes")

    def structure(self, place, element, shape):
        self.expect(not text_of(element).strip(), place, f"text in a structure ({shape.name})")
        self.members(place, list(element), shape)

    def members(self, place, elements, shape):
        known = {}
        for name, member in shape.members.items():
            if member.type_name == "list" and flattened(member):
                known[member.member.serialization.get("name", member.serialization.get("name", name))] = (name, member)
            else:
                known[member.serialization.get("name", name)] = (name, member)
        seen = set()
        for element in elements:
            tag = local(element)
            here = f"{place}/{tag}"
            if tag not in known:
                self.differ(here, f"unknown: {shape.name} has {some(known)}")
                continue
            name, member = known[tag]
            if member.type_name == "list" and flattened(member):
                self.value(here, element, member.member)
            else:
                self.expect(name not in seen, here, "twice")
                self.value(here, element, member)
            seen.add(name)
        for missing in set(shape.required_members) - seen:
            self.differ(place, f"without {missing}, which {shape.name} requires")

    def value(self, place, element, shape):
        kind = shape.type_name
        if kind == "structure":
            return self.structure(place, element, shape)
        if kind == "list":
            tag = shape.member.serialization.get("name", "member")
            self.expect(not text_of(element).strip(), place, f"text in a list ({shape.name})")
            for number, item in enumerate(element):
                here = f"{place}/{local(item)}[{number}]"
                self.expect(local(item) == tag, here, f"the items of {shape.name} are called {tag}")
                self.value(here, item, shape.member)
            return None
        if kind == "map":
            return self.differ(place, "maps are not looked into: no operation here has one")
        if len(element):
            return self.differ(place, f"elements in a {kind} ({shape.name})")
        return self.text(place, text_of(element), shape)

    # Errors

    def error(self, root):
        place = f"{self.action} error"
        if self.is_ec2:
            self.root(root, "Response", {""})
            shape = ["Errors", "RequestID"], ["Code", "Message"]
            fault = root.find("Errors/Error") if len(root.findall("Errors/*")) == 1 else None
        else:
            unknown = root.findtext("{*}Error/{*}Code") in UNKNOWN_ACTION
            self.root(root, "ErrorResponse", {FRONT_END_NAMESPACE} if unknown else self.namespaces())
            shape = ["Error", "RequestId"], ["Type", "Code", "Message"]
            fault = root.find("{*}Error")
        found = [local(child) for child in root]
        self.expect(found == shape[0] and text_of(root[-1]), place, f"expected {shape[0]}, not {found}")
        if fault is None or [local(child) for child in fault] != shape[1]:
            return self.differ(place, f"expected one Error with {shape[1]}: {self.reply}")
        fields = {local(child): text_of(child) for child in fault}
        self.code = fields["Code"]
        self.expect(ERROR_CODE.fullmatch(self.code), place, f"{self.code!r} is no code")
        self.expect(fields["Message"], place, "without a message")
        self.expect(400 <= self.status < 600, place, f"status {self.status}")
        if not self.is_ec2:
            side = "Sender" if self.status < 500 else "Receiver"
            self.expect(fields["Type"] == side, place, f"Type is {fields['Type']}, not {side}, with status {self.status}")
            if self.operation is not None:
                listed = {shape.metadata.get("error", {}).get("code", shape.name)
                          for shape in self.operation.error_shapes} | COMMON_QUERY_ERRORS
                self.expect(self.code in listed, place, f"{self.code} is not among {some(sorted(listed))}")

    # Requests

    def parameters(self, form):
        tree = {}
        for name, value in form.items():
            node = tree
            for part in name.split("."):
                node = node.setdefault(part, {})
            node[""] = value
        shape = self.operation.input_shape
        if shape is None:
            self.expect(not tree, f"{self.action} request", f"{self.action} has no parameters, given are {sorted(tree)}")
        else:
            self.given_members(f"{self.action} request", tree, shape)

    def given_members(self, place, node, shape):
        names = {self.request_name(name, member): (name, member) for name, member in shape.members.items()}
        seen = set()
        for key, child in node.items():
            if key not in names:
                self.differ(f"{place}.{key}", f"unknown: {shape.name} has {some(names)}")
                continue
            name, member = names[key]
            seen.add(name)
            self.given(f"{place}.{key}", child, member)
        for missing in set(shape.required_members) - seen:
            if not self.refused_for(MISSING):
                self.differ(place, f"without {missing}, which {shape.name} requires")

    def request_name(self, name, shape):
        """As botocore's serializers of `ec2` and `query` call a parameter."""
        located = shape.serialization.get("name")
        if not self.is_ec2:
            return located or name
        return shape.serialization.get("queryName") or (located[0].upper() + located[1:] if located else name)

    def given(self, place, node, shape):
        if shape.type_name == "structure":
            return self.given_members(place, node, shape)
        if shape.type_name == "list":
            if not self.is_ec2 and not flattened(shape):
                # A list without elements is sent as an empty value.
                if node == {"": ""}:
                    return None
                item = shape.member.serialization.get("name", "member")
                if list(node) != [item]:
                    return self.differ(place, f"expected {item}.N, not {sorted(node)}")
                node = node[item]
            if sorted(node) != sorted(str(number + 1) for number in range(len(node))):
                return self.differ(place, f"expected elements 1 to {len(node)}, not {sorted(node)}")
            for number, child in node.items():
                self.given(f"{place}.{number}", child, shape.member)
            return None
        if list(node) != [""]:
            return self.differ(place, f"expected a {shape.type_name}, not {sorted(node)}")
        if not self.refused_for(WRONG_VALUE):
            self.text(place, node[""], shape)
        return None


class JsonExchange(Exchange):
    """SSM: JSON both ways."""

    def __init__(self, exchange):
        super().__init__(exchange)
        self.target = exchange["target"]

    def check(self):
        model = service("ssm")
        prefix, _, self.action = self.target.partition(".")
        self.expect(prefix == model.metadata["targetPrefix"], "request", f"the target is {self.target}")
        if self.action in model.operation_names:
            self.operation = model.operation_model(self.action)
        try:
            reply = json.loads(self.reply)
        except ValueError as error:
            return [f"{self.action} reply: {error}"]
        if self.status == 200:
            if self.operation is None:
                return [f"request: ssm has no {self.action}, which was carried out"]
            self.value(f"{self.action} reply", reply, self.operation.output_shape)
        else:
            self.error(reply)
        if self.operation is not None:
            self.parameters()
        else:
            self.expect(self.code == "UnknownOperationException", "reply", f"ssm has no {self.action}: {self.code}")
        return self.differences

    def error(self, reply):
        place = f"{self.action} error"
        reply = dict(reply)
        self.code = reply.pop("__type", "").rpartition("#")[2]
        self.expect(400 <= self.status < 600, place, f"status {self.status}")
        listed = {shape.name: shape for shape in self.operation.error_shapes} if self.operation is not None else {}
        if self.code in COMMON_JSON_ERRORS:
            fields = list(reply)
            self.expect(fields in ([], ["message"]), place, f"expected a message, not {fields}")
        elif self.code in listed:
            self.value(place, reply, listed[self.code])
        else:
            self.differ(place, f"{self.code} is not among {some(sorted(listed) + sorted(COMMON_JSON_ERRORS))}")

    def parameters(self):
        place = f"{self.action} request"
        try:
            request = json.loads(self.request)
        except ValueError as error:
            self.expect(self.refused_for(WRONG_VALUE), place, str(error))
            return
        # What a value is refused for is told by one code here.
        before = len(self.differences)
        self.value(place, request, self.operation.input_shape)
        if self.refused_for(WRONG_VALUE):
            del self.differences[before:]

    def value(self, place, value, shape):
        kind = shape.type_name
        if kind == "structure":
            if not isinstance(value, dict):
                return self.differ(place, f"{value!r} is no structure ({shape.name})")
            for name, member in value.items():
                here = f"{place}.{name}"
                known = {each.serialization.get("name", key): each for key, each in shape.members.items()}
                if name in known:
                    self.value(here, member, known[name])
                else:
                    self.differ(here, f"unknown: {shape.name} has {some(known)}")
            for missing in set(shape.required_members) - set(value):
                self.differ(place, f"without {missing}, which {shape.name} requires")
            return None
        if kind == "list":
            if not isinstance(value, list):
                return self.differ(place, f"{value!r} is no list ({shape.name})")
            for number, item in enumerate(value):
                self.value(f"{place}[{number}]", item, shape.member)
            return self.limits(place, value, shape)
        if kind == "map":
            if not isinstance(value, dict):
                return self.differ(place, f"{value!r} is no map ({shape.name})")
            for key, item in value.items():
                self.value(f"{place} key {key!r}", key, shape.key)
                self.value(f"{place}[{key!r}]", item, shape.value)
            return None
        types = {"string": str, "integer": int, "long": int, "boolean": bool, "float": (int, float),
                 "double": (int, float), "timestamp": (int, float)}
        if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return self.differ(place, f"{value!r} is no {kind} ({shape.name})")
        return None if kind in ("boolean", "timestamp") else self.limits(place, value, shape)


def flattened(shape):
    return shape.serialization.get("flattened", False)


def local(element):
    return element.tag.rpartition("}")[2]


def namespace(element):
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else ""


def text_of(element):
    return (element.text or "") + "".join(child.tail or "" for child in element)


def is_time(text):
    if not TIME.fullmatch(text):
        return False
    try:
        datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def matches(pattern, text):
    # Java's and ECMA's ways to write a code point, as the models have them.
    pattern = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: re.escape(chr(int(found[1], 16))), pattern)
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True


def some(names):
    names = list(names)
    return ", ".join(map(str, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
