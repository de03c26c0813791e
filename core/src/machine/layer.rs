//! A machine around another: a recorder, an auditor, a trace, a fault.
//!
//! A [`Layer`] writes the methods in which it differs. All others go to the machine inside. Every
//! layer is an [`Application`] by that alone.

use super::{
    Application, DatagramMachine, Fault, Input, Machine, Offload, Output, Rx, SocketId, Splice, StreamId,
    StreamMachine, Transmit, TunId, TunMachine,
};
use crate::time::Instant;

/// A machine around another. What it does not say itself, the inner machine says; see the traits of
/// the same methods.
#[expect(missing_docs, reason = "each method is documented in the trait that it is handed on to")]
pub trait Layer {
    /// The machine inside.
    type Inner: Application + ?Sized;

    /// The machine inside.
    fn inner(&self) -> &Self::Inner;

    /// The machine inside.
    fn inner_mut(&mut self) -> &mut Self::Inner;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.inner_mut().handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner_mut().handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.inner_mut().poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner().poll_timeout()
    }

    fn entropy_is_secret(&self) -> bool {
        self.inner().entropy_is_secret()
    }

    fn poll_dirty(&mut self) -> Option<StreamId> {
        self.inner_mut().poll_dirty()
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        self.inner_mut().read_buf(stream)
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.inner().write_buf(stream)
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        self.inner().splice(from)
    }

    fn hears_faults(&self, stream: StreamId) -> bool {
        self.inner().hears_faults(stream)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        self.inner_mut().refuse_splice(from);
    }

    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        self.inner_mut().poll_dirty_socket()
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.inner_mut().handle_datagrams(now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        self.inner_mut().poll_transmit(now, socket, buf)
    }

    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        self.inner_mut().poll_dirty_tun()
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        self.inner_mut().take_buf(tun)
    }

    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        self.inner_mut().handle_packet(now, tun, len, offload);
    }

    fn give_buf(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        self.inner().give_buf(tun)
    }

    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        self.inner_mut().handle_given(now, tun, result);
    }
}

impl<L: Layer> Machine for L {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        Layer::handle_input(self, now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Layer::handle_timeout(self, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Layer::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Layer::poll_timeout(self)
    }

    fn entropy_is_secret(&self) -> bool {
        Layer::entropy_is_secret(self)
    }
}

impl<L: Layer> StreamMachine for L {
    fn poll_dirty(&mut self) -> Option<StreamId> {
        Layer::poll_dirty(self)
    }

    fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        Layer::read_buf(self, stream)
    }

    fn write_buf(&self, stream: StreamId) -> &[u8] {
        Layer::write_buf(self, stream)
    }

    fn splice(&self, from: StreamId) -> Option<Splice> {
        Layer::splice(self, from)
    }

    fn hears_faults(&self, stream: StreamId) -> bool {
        Layer::hears_faults(self, stream)
    }

    fn refuse_splice(&mut self, from: StreamId) {
        Layer::refuse_splice(self, from);
    }
}

impl<L: Layer> DatagramMachine for L {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        Layer::poll_dirty_socket(self)
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        Layer::handle_datagrams(self, now, socket, rx);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        Layer::poll_transmit(self, now, socket, buf)
    }
}

impl<L: Layer> TunMachine for L {
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        Layer::poll_dirty_tun(self)
    }

    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        Layer::take_buf(self, tun)
    }

    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        Layer::handle_packet(self, now, tun, len, offload);
    }

    fn give_buf(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        Layer::give_buf(self, tun)
    }

    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        Layer::handle_given(self, now, tun, result);
    }
}
