"""The check of replies checked: each kind of difference is seen where it was put."""

import json
import unittest
from urllib.parse import urlencode

import model

EC2 = "2016-11-15"
VOLUME = ("<volumeId>vol-1</volumeId><size>1</size><status>available</status><encrypted>false</encrypted>"
          "<createTime>2026-01-01T00:00:00.000Z</createTime><tagSet><item><key>a</key><value>b</value></item></tagSet>")


def described(volume=VOLUME, root="DescribeVolumesResponse", namespace="http://ec2.amazonaws.com/doc/2016-11-15/",
              request_id="<requestId>r-1</requestId>", **form):
    reply = f'<{root} xmlns="{namespace}">{request_id}<volumeSet><item>{volume}</item></volumeSet></{root}>'
    return exchange(form, 200, reply)


def exchange(form, status, reply, version=EC2, action="DescribeVolumes"):
    return {"target": None, "request": urlencode({"Action": action, "Version": version} | form), "status": status,
            "reply": reply}


def refused(code="InvalidVolume.NotFound", status=400, **form):
    reply = (f"<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors>"
             "<RequestID>r-1</RequestID></Response>")
    return exchange(form, status, reply)


def of_group(code, kind, status):
    reply = ('<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error>'
             f"<Type>{kind}</Type><Code>{code}</Code><Message>m</Message></Error><RequestId>r-1</RequestId>"
             "</ErrorResponse>")
    return exchange({}, status, reply, "2011-01-01", "DescribeAutoScalingGroups")


def sent(reply, status=200, operation="GetCommandInvocation", **request):
    request = {"CommandId": "0" * 36, "InstanceId": "i-0123456789abcdef0"} | request
    return {"target": f"AmazonSSM.{operation}", "request": json.dumps(request), "status": status,
            "reply": json.dumps(reply)}


class Model(unittest.TestCase):
    def differs(self, place, exchange):
        found = model.check(exchange)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place), found)

    def test_what_is_as_the_model_says_differs_in_nothing(self):
        for good in (described(), described(MaxResults="5", **{"Filter.1.Name": "status", "Filter.1.Value.1": "x"}),
                     refused(), of_group("ValidationError", "Sender", 400), of_group("InternalFailure", "Receiver", 500),
                     sent({"Status": "Success", "ResponseCode": 0}),
                     sent({"__type": "InvocationDoesNotExist"}, 400)):
            self.assertEqual(model.check(good), [])

    def test_members_are_known_and_come_once(self):
        item = "DescribeVolumes reply/volumeSet/item[0]"
        self.differs(f"{item}/colour: unknown", described(VOLUME + "<colour>red</colour>"))
        self.differs(f"{item}/size: twice", described(VOLUME + "<size>1</size>"))
        self.differs(f"{item}/VolumeId: unknown", described("<VolumeId>vol-1</VolumeId>"))
        self.differs(f"{item}/tagSet/member[0]: the items", described(
            "<tagSet><member><key>a</key><value>b</value></member></tagSet>"))
        self.differs(f"{item}: text in a structure", described("vol-1"))
        self.differs(f"{item}/volumeId: elements in a string", described("<volumeId><id>vol-1</id></volumeId>"))

    def test_values_have_their_types_and_enumerations(self):
        item = "DescribeVolumes reply/volumeSet/item[0]"
        for name, wrong in (("size", "big"), ("size", ""), ("size", "3000000000"), ("encrypted", "yes"),
                            ("createTime", "2026-01-01"), ("createTime", "2026-13-01T00:00:00.000Z"),
                            ("status", "ready"), ("volumeType", "gp9")):
            self.differs(f"{item}/{name}: '{wrong}'", described(f"<{name}>{wrong}</{name}>"))

    def test_the_root_its_namespace_and_the_request_id_are_looked_at(self):
        self.differs("reply: the root", described(root="DescribeVolumesReply"))
        self.differs("reply: the namespace", described(namespace="http://ec2.amazonaws.com/doc/2012-01-01/"))
        self.differs("DescribeVolumes reply: expected one requestId", described(request_id=""))

    def test_actions_without_output_return_true(self):
        reply = ('<DeleteVolumeResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
                 "<return>{}</return></DeleteVolumeResponse>")
        form = {"VolumeId": "vol-1"}
        self.assertEqual(model.check(exchange(form, 200, reply.format("true"), action="DeleteVolume")), [])
        self.differs("DeleteVolume reply: expected <return>true</return>",
                     exchange(form, 200, reply.format("yes"), action="DeleteVolume"))

    def test_requests_have_known_parameters_in_their_form(self):
        self.differs("DescribeVolumes request.VolumeIds: unknown", described(VolumeIds="vol-1"))
        self.differs("DescribeVolumes request.Filter.1.Values: unknown", described(**{"Filter.1.Values.1": "x"}))
        self.differs("DescribeVolumes request.VolumeId: expected elements", described(**{"VolumeId.2": "vol-1"}))
        self.differs("DescribeVolumes request.MaxResults: 'many'", described(MaxResults="many"))
        self.differs("DescribeVolumes request.MaxResults: 'many'", refused(MaxResults="many"))
        self.assertEqual(model.check(refused("InvalidParameterValue", MaxResults="many")), [])
        self.assertEqual(model.check(refused("UnknownParameter", Colour="red")), [])

    def test_errors_have_their_form(self):
        self.differs("DescribeVolumes error: 'no code!'", refused("no code!"))
        self.differs("DescribeVolumes error: status 302", refused(status=302))
        self.differs("DescribeAutoScalingGroups error: Type", of_group("InternalFailure", "Sender", 500))
        self.differs("DescribeAutoScalingGroups error: SomethingElse", of_group("SomethingElse", "Sender", 400))

    def test_ssm_is_looked_at_as_json(self):
        self.differs("GetCommandInvocation reply.Colour: unknown", sent({"Colour": "red"}))
        self.differs("GetCommandInvocation reply.Status: 'Done'", sent({"Status": "Done"}))
        self.differs("GetCommandInvocation reply.ResponseCode: '0'", sent({"ResponseCode": "0"}))
        self.differs("GetCommandInvocation request.CommandId: 'short'", sent({}, CommandId="short"))
        self.differs("GetCommandInvocation error.message: unknown",
                     sent({"__type": "InvocationDoesNotExist", "message": "m"}, 400))


if __name__ == "__main__":
    unittest.main()
