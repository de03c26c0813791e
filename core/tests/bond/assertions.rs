//! The comparison of the bond with what must be true of it. The numbers are those of the protocol's
//! invariants.

use super::packet::Way;
use super::sut::{Sut, named};
use ropewalk_core::bond::{PathState, Status};

/// A superpacket and its bookkeeping may be over a cap that was kept before it came.
const ONE_MORE: usize = 70_000;

/// After each step. 1 and 5 are held where packets come out and are sealed.
pub(crate) fn after_each(sut: &Sut) {
    let tuning = sut.lab.setup.tuning;
    for status in [Some(sut.client()), sut.server()].into_iter().flatten() {
        // 2: memory stays under its caps.
        assert!(status.held <= tuning.memory, "{} bytes held for their order", status.held);
        assert!(status.copies <= tuning.memory, "{} bytes of copies", status.copies);
        assert!(status.queued <= tuning.queue + ONE_MORE, "{} bytes queued", status.queued);
    }
    // 6: who is not authentic draws at most three times its bytes; nonsense draws nothing.
    for (address, bytes) in &sut.lab.answered {
        let asked = sut.asked.get(address).copied().unwrap_or(0);
        assert!(*bytes <= 3 * asked, "{address} sent {asked} bytes and got {bytes}");
    }
    if let Some(address) = sut.answered_nonsense() {
        panic!("{address} sent nothing but nonsense and was answered");
    }
}

/// When all links are well again, and have been for a while.
pub(crate) fn after_healing(sut: &mut Sut) {
    // Where a slow link has the whole of it, CoDel may drop one of them.
    let shed = |sut: &Sut| {
        let drops = |status: Status| status.drops.queue_delay;
        drops(sut.client()) + sut.server().map_or(0, drops)
    };
    let before = shed(sut);
    let (came, of) = sut.exchange();
    let shed = shed(sut) - before;
    assert_eq!(came + shed, of, "packets through a bond whose links are well; client {:#?}", sut.client());
    assert!(shed <= of / 10, "CoDel dropped {shed} of {of} on links that are well");
    let client = sut.client();
    let server = sut.server().expect("an association");
    for status in [&client, &server] {
        // One that lost much has to show for a while that it is well.
        let lives = |state| matches!(state, PathState::Live | PathState::Sick);
        assert!(status.paths.iter().all(|path| lives(path.state)), "{status:#?}");
        assert_eq!((status.held, status.queued), (0, 0), "bytes that wait for nothing: {status:#?}");
    }
    if sut.whole {
        accounted(sut, &client, &server);
    }
}

/// 4: what did not come out was dropped for a named reason. 1: what came too late was waited for
/// first. What the bond says to hosts by itself is counted.
fn accounted(sut: &Sut, client: &Status, server: &Status) {
    for (way, here, there) in [(Way::Down, client, server), (Way::Up, server, client)] {
        let told = sut.reference.told.get(&way).copied().unwrap_or(0);
        assert_eq!(told, here.told_too_big, "hosts told that a packet is too big: {here:#?}");
        // Where the whole packet comes after all, and first, its header does not.
        let headers = sut.reference.headers(way);
        assert!(headers <= there.trimmed, "{headers} headers came, of {} sent", there.trimmed);
    }
    // A trimmed segment counts as dropped, and its header comes.
    let trimmed = client.trimmed + server.trimmed;
    let named = named(&client.drops) + named(&server.drops);
    let dropped = named - trimmed + sut.lab.server.machine.unroutable();
    let missing = sut.reference.missing();
    assert!(
        missing <= dropped,
        "{missing} packets are missing, and {dropped} were dropped: {client:#?} {server:#?}"
    );
    // Who waits knows the one before it alone: behind one hole there may be many.
    for (way, holes) in [(Way::Down, client.holes), (Way::Up, server.holes)] {
        let late = sut.reference.overtaken(way);
        assert!(late == 0 || holes > 0, "{late} packets came late, and nobody had waited");
    }
}
