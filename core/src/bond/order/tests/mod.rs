//! The order held against a plain model of itself, and against what must hold whatever happens.
//!
//! | file | is |
//! | --- | --- |
//! | `transition` | what may happen: a plan of packets over paths that delay, lose and repeat, as events in time |
//! | `reference` | the rules again, without an index, a timer or a window |
//! | `system` | the order under test, driven through the same events |
//! | `assertions` | what must be true of its log |

mod assertions;
mod hostile;
mod reference;
mod system;
mod transition;

use proptest::prelude::*;
use transition::{Plan, plan};

proptest! {
    #[test]
    fn the_order_does_what_the_plain_rules_say(plan in plan()) {
        let mut reference = reference::Reference::new(&plan);
        let log = system::run(&plan, Some(&mut reference));
        assertions::delivered_once_and_soon(&plan, &log);
        assertions::no_hole_no_wait(&plan, &log);
    }

    /// Invariant 1.
    #[test]
    fn paths_that_lose_nothing_keep_every_flow_in_order(plan in plan()) {
        let plan = plan.without_loss();
        assertions::flows_in_order(&plan, &system::run(&plan, None));
    }

    /// Invariant 11.
    #[test]
    fn one_path_without_loss_hands_on_what_came_in(plan in plan()) {
        let plan = plan.without_loss().on_one_path();
        assertions::as_it_was_sent(&plan, &system::run(&plan, None));
    }

    /// Invariant 3.
    #[test]
    fn a_hole_in_one_flow_never_delays_another(plan in plan(), hole in 0usize..40) {
        let whole = plan.without_loss();
        let holed = whole.clone().losing(hole);
        let flow = |plan: &Plan| hole.checked_rem(plan.packets.len()).map(|index| plan.packets[index].flow);
        let (before, after) = (system::run(&whole, None), system::run(&holed, None));
        assertions::other_flows_alike(&whole, &before, &after, flow(&whole));
    }
}
