//! The machine of dispatch with one client, by hand and without a world: what a driver may see only
//! for a moment.

use super::{addr, ms};
use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::machine::{
    Assignment, ConnId, Input, Machine, Output, StreamId, StreamMachine, UplinkId, Via,
};
use ropewalk_core::time::Instant;

pub(crate) struct Bare {
    pub(crate) machine: Dispatch,
    pub(crate) client: StreamId,
    /// The stream that was connected last.
    pub(crate) target: StreamId,
    pub(crate) said: Vec<Output>,
}

impl Bare {
    /// A client that has come and said nothing.
    pub(crate) fn accepted(config: Config) -> Bare {
        let none = StreamId::from_parts(u32::MAX, 0);
        let machine = Dispatch::new(config).expect("valid");
        let mut bare = Bare { machine, client: none, target: none, said: Vec::new() };
        let first = bare.machine.poll_output();
        let Some(Output::Accept { stream, .. }) = first else { panic!("expected Accept, got {first:?}") };
        bare.client = stream;
        let (peer, local) = (addr("127.0.0.1:9"), addr("127.0.0.1:1080"));
        bare.input(Input::Accepted { stream, peer, local });
        bare
    }

    /// One that has asked for a target, which is being connected to by uplink 0.
    pub(crate) fn opening(config: Config, words: &[u8]) -> Bare {
        let mut bare = Bare::accepted(config);
        bare.read(bare.client, words);
        let assignment = Assignment {
            uplink: Some(UplinkId(0)),
            via: Via::default(),
            endpoint: None,
            prefix64: None,
            patience: ms(250),
        };
        bare.input(Input::Assigned { conn: bare.asked(), assignment: Some(assignment) });
        let connect = |output: &Output| match output {
            Output::Connect { stream, .. } => Some(*stream),
            _ => None,
        };
        bare.target = bare.said.iter().rev().find_map(connect).expect("it connects");
        bare
    }

    fn asked(&self) -> ConnId {
        let assign = |output: &Output| match output {
            Output::Assign(assign) => Some(assign.conn),
            _ => None,
        };
        self.said.iter().rev().find_map(assign).expect("it asks the pool")
    }

    pub(crate) fn connected(&mut self) {
        self.input(Input::Connected { stream: self.target, local: addr("10.0.0.2:4000") });
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(Instant::ZERO, input);
        self.said.extend(std::iter::from_fn(|| self.machine.poll_output()));
        while self.machine.poll_dirty().is_some() {}
    }

    pub(crate) fn read(&mut self, stream: StreamId, bytes: &[u8]) {
        let buf = self.machine.read_buf(stream);
        buf[..bytes.len()].copy_from_slice(bytes);
        self.input(Input::Read { stream, len: bytes.len() });
    }

    pub(crate) fn flush(&mut self, stream: StreamId) -> Vec<u8> {
        let bytes = self.machine.write_buf(stream).to_vec();
        if !bytes.is_empty() {
            self.input(Input::Written { stream, len: bytes.len() });
        }
        bytes
    }

    pub(crate) fn wants_read(&mut self, stream: StreamId) -> bool {
        !self.machine.read_buf(stream).is_empty()
    }
}
