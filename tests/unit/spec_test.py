#!/usr/bin/python3
"""spec_test: compares the tables of src/amqp with the AMQP 0-9-1 specification's XML.

Called with the paths of methods.def, properties.def, replies.def and the XML. Every difference that
is meant is listed here with its reason; one that is listed but not found is an error too.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree

FIELD_WORDS = {"octet": "U8", "short": "U16", "long": "U32", "longlong": "U64", "bit": "BIT",
               "shortstr": "STR", "longstr": "LONGSTR", "table": "TABLE"}
PROPERTY_WORDS = {"octet": "OCTET", "shortstr": "SHORTSTR", "table": "TABLE", "timestamp": "TIMESTAMP"}
SCOPES = {"soft-error": "CHANNEL", "hard-error": "CONNECTION", None: "NOTHING"}

# The XML names who must implement the receiving side; RabbitMQ's practice differs in these.
SENDERS_THAT_DIFFER = {
    "connection.blocked": "SERVER",           # a client never blocks the server
    "connection.unblocked": "SERVER",
    "connection.update_secret": "CLIENT",     # the XML has it the wrong way round
    "connection.update_secret_ok": "SERVER",
}
# 0-9-1 has dropped the class access of 0-8; RabbitMQ still answers it.
ONLY_OURS = {
    "access.request": (30, 10, "CLIENT", [("realm", "STR"), ("exclusive", "BIT"), ("passive", "BIT"),
                                          ("active", "BIT"), ("write", "BIT"), ("read", "BIT")]),
    "access.request_ok": (30, 11, "SERVER", [("ticket", "U16")]),
}
FIELD_NAMES_THAT_DIFFER = {"confirm.select": {"nowait": "no_wait"}}  # one spelling everywhere
PROPERTY_NAMES_THAT_DIFFER = {"reserved": "cluster_id"}              # its name before 0-9-1


def underscored(name):
    return re.sub(r"[- ]", "_", name)


def table_text(path):
    """The table without its comments, as one line."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", pathlib.Path(path).read_text(encoding="utf-8"), flags=re.S)
    return " ".join(text.split())


def entries(path, word):
    """The arguments of each WORD(...), and a check that nothing else stands in the table."""
    text = table_text(path)
    pattern = word + r"\(((?:[^()]|\([^()]*\))*)\)"
    assert re.sub(pattern, "", text).strip() == "", f"{path}: something is not a {word}"
    return [[part.strip() for part in match.split(",", 5)] for match in re.findall(pattern, text)]


def methods_of_table(path):
    methods = {}
    for klass, method, class_id, method_id, sender, fields in entries(path, "METHOD"):
        name = f"{klass}.{method}"
        assert name not in methods, f"{name} stands twice"
        pairs = [] if fields == "NONE" else re.findall(r"(\w+)\((\w+)\)", fields)
        assert fields == "NONE" or " ".join(f"{w}({n})" for w, n in pairs) == fields, f"{name}: {fields}"
        methods[name] = (int(class_id), int(method_id), sender, [(n, w) for w, n in pairs])
    return methods


def sender_of(method):
    receivers = {chassis.get("name") for chassis in method.findall("chassis")}
    return {("client",): "SERVER", ("server",): "CLIENT", ("client", "server"): "BOTH"}[
        tuple(sorted(receivers))]


def methods_of_spec(spec, domains):
    methods = {}
    for klass in spec.findall("class"):
        for method in klass.findall("method"):
            name = f"{underscored(klass.get('name'))}.{underscored(method.get('name'))}"
            renamed = FIELD_NAMES_THAT_DIFFER.get(name, {})
            fields = []
            for field in method.findall("field"):
                field_name = underscored(field.get("name"))
                kind = field.get("type") or domains[field.get("domain")]
                fields.append((renamed.get(field_name, field_name), FIELD_WORDS[kind]))
            methods[name] = (int(klass.get("index")), int(method.get("index")), sender_of(method), fields)
    for name, sender in SENDERS_THAT_DIFFER.items():
        class_id, method_id, spec_sender, fields = methods[name]
        assert spec_sender != sender, f"{name}: the sender does not differ any more"
        methods[name] = (class_id, method_id, sender, fields)
    return methods


def properties_of_spec(spec, domains):
    basic = next(c for c in spec.findall("class") if c.get("name") == "basic")
    found = []
    for index, field in enumerate(basic.findall("field")):
        name = underscored(field.get("name"))
        kind = field.get("type") or domains[field.get("domain")]
        found.append([PROPERTY_NAMES_THAT_DIFFER.get(name, name), PROPERTY_WORDS[kind], str(15 - index)])
    return found


def replies_of_spec(spec):
    found = []
    for constant in spec.findall("constant"):
        name = underscored(constant.get("name")).upper()
        if name == "FRAME_ERROR" or not name.startswith("FRAME_"):
            found.append([name.removeprefix("REPLY_"), constant.get("value"), SCOPES[constant.get("class")]])
    return found


def differences(ours, theirs):
    """What two dictionaries do not share, in words."""
    found = [f"{name}: only in our table" for name in ours.keys() - theirs.keys()]
    found += [f"{name}: missing in our table" for name in theirs.keys() - ours.keys()]
    found += [f"{name}: ours {ours[name]}, specified {theirs[name]}"
              for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    return sorted(found)


def by_name(rows):
    return {row[0]: (place, *row[1:]) for place, row in enumerate(rows)}


def main(methods_path, properties_path, replies_path, spec_path):
    spec = xml.etree.ElementTree.parse(spec_path).getroot()
    domains = {d.get("name"): d.get("type") for d in spec.iter("domain")}
    specified = methods_of_spec(spec, domains)
    assert len(specified) == 64, f"the XML has {len(specified)} methods"
    assert not specified.keys() & ONLY_OURS.keys(), "the XML has what only we should have"
    specified.update(ONLY_OURS)
    cases = {
        "methods_are_as_specified": differences(methods_of_table(methods_path), specified),
        "properties_are_as_specified": differences(
            by_name(entries(properties_path, "PROPERTY")), by_name(properties_of_spec(spec, domains))),
        "replies_are_as_specified": differences(
            by_name(entries(replies_path, "REPLY")), by_name(replies_of_spec(spec))),
    }
    for case, found in cases.items():
        for difference in found:
            print(difference)
        print(f"[  FAILED  ] {case}" if found else f"[       OK ] {case}")
    return 1 if any(cases.values()) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
