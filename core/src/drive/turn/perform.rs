//! What a machine asks for, done: each [`Output`] as a call of [`Io`].

use super::{Drive, Listener, State};
use crate::drive::io::Io;
use crate::machine::{Application, Fault, Input, Output, SocketId, StreamId};
use core::net::SocketAddr;

impl Drive {
    /// Carries out the machine's outputs and passes on at once what is known of their outcome.
    pub(super) fn perform<M: Application, I: Io>(&mut self, machine: &mut M, io: &mut I, output: Output) {
        match output {
            Output::Accept { listener, stream } => {
                self.listener(listener).wanted.push_back(stream);
                self.enqueue_listener(listener);
            }
            Output::CancelAccept { listener, stream } => {
                self.listener(listener).wanted.retain(|wanted| *wanted != stream);
            }
            Output::Unlisten { listener } => {
                *self.listener(listener) = Listener::default();
                self.accepting.retain(|other| *other != listener);
                io.unlisten(listener);
            }
            Output::Connect { stream, to, via } => {
                let begun = io.connect(stream, to, &via);
                self.connecting(machine, io, stream, begun);
            }
            Output::ConnectLocal { stream, path } => {
                let begun = io.connect_local(stream, &path);
                self.connecting(machine, io, stream, begun);
            }
            Output::Resolve { query, name } => {
                if let Err(fault) = io.resolve(query, &name) {
                    machine.handle_input(io.now(), Input::ResolveFailed { query, fault });
                }
            }
            Output::CancelResolve { query } => io.cancel_resolve(query),
            Output::Assign(assign) => {
                let now = io.now();
                let assignment = io.assign(now, &assign);
                machine.handle_input(now, Input::Assigned { conn: assign.conn, assignment });
            }
            Output::Report(report) => {
                let now = io.now();
                io.report(now, &report);
            }
            Output::Shutdown { stream } => {
                if self.live(stream) {
                    io.shutdown(stream);
                }
            }
            Output::Close { stream, how } => {
                if self.live(stream) {
                    self.forget(stream);
                    io.close(stream, how);
                }
            }
            Output::Receive { listener, socket, fragments } => {
                io.receive(listener, socket, fragments);
                self.sockets.open(socket);
            }
            Output::OpenSocket { socket, to, via, fragments } => {
                let opened = io.open_socket(socket, to, &via, fragments);
                self.socket_opened(machine, io, socket, opened);
            }
            Output::BindSocket { socket, local, to, via, fragments } => {
                let opened = io.bind_socket(socket, local, to, &via, fragments);
                self.socket_opened(machine, io, socket, opened);
            }
            Output::CloseSocket { socket } => {
                if self.sockets.close(socket) {
                    io.close_socket(socket);
                }
            }
            Output::Configure { tun, configuration } => {
                if let Err(fault) = io.configure(tun, &configuration) {
                    machine.handle_input(io.now(), Input::ConfigureFailed { tun, fault });
                }
            }
            Output::Entropy => {
                let mut bytes = [0; 32];
                if io.entropy(&mut bytes) {
                    machine.handle_input(io.now(), Input::Entropy { bytes: &bytes });
                }
            }
            Output::Event(event) => {
                let now = io.now();
                io.event(now, &event);
            }
            Output::Finished => self.finished = true,
        }
    }
    /// A connect was begun, or failed at once.
    fn connecting<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        stream: StreamId,
        begun: Result<(), Fault>,
    ) {
        match begun {
            Ok(()) => self.open(stream, State::Connecting),
            Err(fault) => machine.handle_input(io.now(), Input::ConnectFailed { stream, fault }),
        }
    }

    /// A socket for datagrams is open, at this address, or could not be opened.
    fn socket_opened<M: Application, I: Io>(
        &mut self,
        machine: &mut M,
        io: &mut I,
        socket: SocketId,
        opened: Result<SocketAddr, Fault>,
    ) {
        let input = match opened {
            Ok(local) => {
                self.sockets.open(socket);
                Input::Opened { socket, local }
            }
            Err(fault) => Input::OpenFailed { socket, fault },
        };
        machine.handle_input(io.now(), input);
    }
}
