//! An end that forgets the other, or a link that falls silent, at each moment of a handshake: the
//! two find each other again.
//!
//! The moments are tens of milliseconds apart, over links of hundreds: some lie between any two
//! messages.

use super::lab::{Lab, Setup};
use super::packet::{Flow, Kind, Way};
use super::server::calm;
use super::sut::Sut;
use super::transition::Transition;
use ropewalk_core::bond::PathState;
use ropewalk_core::time::Duration;

/// Links of 200 ms: a handshake takes two round trips, a dead path comes back after three answers.
fn far(links: usize) -> Setup {
    let mut setup = calm(12, links);
    for nature in setup.clients[0].iter_mut().flatten() {
        nature.delay = Duration::from_millis(200);
    }
    setup
}

fn silence(sut: &mut Sut, links: usize, way: Option<Way>, silent: bool) {
    for link in 0..links {
        sut.apply(&Transition::Silent { link: link as u8, way, silent });
    }
}

fn send(sut: &mut Sut, way: Way) {
    let flow = Flow { client: 0, way, kind: Kind::WireGuard, id: 3 };
    sut.apply(&Transition::Send { flow, count: 1, size: 300, joined: false });
}

/// All links are silent until the client has given its paths up, and carry again then.
fn fall(sut: &mut Sut, links: usize) {
    silence(sut, links, None, true);
    send(sut, Way::Up);
    let down = |lab: &Lab| {
        let paths = lab.clients[0].machine.status(lab.now).paths;
        paths.iter().all(|path| path.state == PathState::Down)
    };
    assert!(sut.lab.run_until(Duration::from_secs(60), down), "{:#?}", sut.client());
    silence(sut, links, None, false);
}

/// Within 38 s all paths are live again at both ends, and carry. An idle client with a live path
/// finds out by its next question, which is up to 28 s away.
fn recovers(sut: &mut Sut, what: &str) {
    sut.lab.run(Duration::from_secs(38));
    let (came, of) = sut.exchange();
    assert_eq!(came, of, "{what}: {:#?}", sut.client());
    for status in [Some(sut.client()), sut.server()] {
        let status = status.expect("an association");
        let live = status.paths.iter().all(|path| path.state == PathState::Live);
        assert!(live, "{what}: {status:#?}");
    }
}

/// All paths fall, the links are well again at once, and the client shakes hands; then one end
/// restarts. The last word of a server that is gone ended the client's handshake while its paths
/// were still down: nothing began another until its keys expired.
#[test]
fn an_end_that_restarts_at_any_moment_after_all_paths_fell_is_found_again() {
    for (links, who) in [(1, Way::Down), (2, Way::Down), (1, Way::Up)] {
        for moment in (0..4000).step_by(50) {
            let mut sut = Sut::new(&far(links));
            // The second time it takes six answers to be believed again: long after the handshake.
            fall(&mut sut, links);
            sut.lab.run(Duration::from_secs(5));
            fall(&mut sut, links);
            sut.lab.run(Duration::from_millis(moment));
            sut.apply(&Transition::Restart(who));
            recovers(&mut sut, &format!("{links} links, {who:?} restarts after {moment} ms"));
        }
    }
}

/// New keys are due, and a message of the handshake or the first packet after it is lost with all
/// that follows for a while. The old keys hide a handshake that never ends, until they expire.
#[test]
fn a_link_that_falls_silent_at_any_moment_of_a_rekey_carries_again() {
    for (links, way) in [(1, Way::Up), (1, Way::Down), (2, Way::Up)] {
        for moment in (0..1500).step_by(100) {
            let mut sut = Sut::new(&far(links));
            sut.lab.run(Duration::from_secs(125));
            send(&mut sut, Way::Up);
            sut.lab.run(Duration::from_millis(moment));
            silence(&mut sut, links, Some(way), true);
            sut.lab.run(Duration::from_secs(8));
            silence(&mut sut, links, Some(way), false);
            let what = format!("{links} links, {way:?} silent after {moment} ms");
            recovers(&mut sut, &what);
            sut.lab.run(Duration::from_secs(25));
            recovers(&mut sut, &format!("{what}, when the old keys have expired"));
        }
    }
}

/// How long after the server's restart a packet comes out `out` that was sent after it, while the
/// systems send one each 10 ms in these directions.
fn found_after(links: usize, ways: &[Way], out: Way) -> Duration {
    let mut sut = Sut::new(&calm(13, links));
    let begin = |sut: &mut Sut| ways.iter().for_each(|way| send(sut, *way));
    let flow = Flow { client: 0, way: out, kind: Kind::WireGuard, id: 3 };
    for _ in 0..100 {
        begin(&mut sut);
        sut.apply(&Transition::Wait(10));
    }
    sut.apply(&Transition::Restart(Way::Down));
    let (restarted, first) = (sut.lab.now, sut.reference.flows[&flow].next);
    while sut.reference.flows[&flow].delivered.last().is_none_or(|last| *last < first) {
        begin(&mut sut);
        sut.apply(&Transition::Wait(10));
        assert!(sut.lab.now - restarted < Duration::from_secs(60), "{:#?}", sut.client());
    }
    sut.lab.now - restarted
}

#[test]
fn a_client_that_sends_finds_a_restarted_server_after_a_few_time_outs() {
    for links in 1..=3 {
        for (ways, out) in
            [(&[Way::Up][..], Way::Up), (&[Way::Up, Way::Down], Way::Up), (&[Way::Up, Way::Down], Way::Down)]
        {
            let took = found_after(links, ways, out);
            assert!(
                took < Duration::from_millis(400),
                "{links} links, {ways:?}: {took:?} until something came {out:?}"
            );
        }
    }
}
