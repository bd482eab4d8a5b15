//! An EC2, EBS, Auto Scaling, SSM and STS emulator: a pure core, an in-process face and a wire face.
