//! A hundred clients that lose their sockets in the same instant: the thundering herd that this project began with.

use super::world::World;
use crate::lifecycle::{Command, Reason};
use crate::time::Time;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Handshakes that the platform takes in a second; those beyond it are answered 429 with `Retry-After: 1`.
const PER_SECOND: usize = 20;

/// What the platform counts, over all clients.
#[derive(Debug, Default)]
pub struct Door {
    second: u64,
    taken: usize,
    asked: usize,
}

impl Door {
    /// Whether one more handshake is taken at `now`.
    pub fn opens(&mut self, now: Time) -> bool {
        let second = now.as_micros() / 1_000_000;
        if self.second != second {
            (self.second, self.taken) = (second, 0);
        }
        self.asked += 1;
        self.taken += 1;
        self.taken <= PER_SECOND
    }
}

#[test]
fn a_hundred_clients_that_lose_their_sockets_at_once_are_back_within_a_minute() {
    for seeds in [0, 1_000, 2_000] {
        let (took, asked) = stampede(seeds);
        assert!(took <= Duration::from_secs(60), "seeds {seeds}…: {took:?}");
        assert!(asked <= 600, "seeds {seeds}…: {asked} handshakes");
    }
}

/// How long it took until all were live, and how many handshakes it cost.
fn stampede(seeds: u64) -> (Duration, usize) {
    let door = Rc::new(RefCell::new(Door::default()));
    let mut worlds: Vec<World> = (seeds..seeds + 100).map(World::live).collect();
    for world in &mut worlds {
        world.door = Some(Rc::clone(&door));
        world.lose(world.session(), Reason::Cut);
    }
    let struck = worlds[0].now;
    let mut took = None;
    // Time passes for all together, in steps that are small beside the waits.
    for step in 1..=24_000_u32 {
        for world in &mut worlds {
            world.run(Duration::from_millis(5));
        }
        if worlds.iter().all(|world| world.lifecycle.is_covered()) {
            took = Some(Duration::from_millis(5) * step);
            break;
        }
    }
    for world in &worlds {
        let logins = world.count(|command| *command == Command::RequestToken);
        assert_eq!(logins, 0, "a lost socket is no reason to log in");
        assert!(world.gaps.iter().all(|gap| gap.from <= struck), "{:?}", world.gaps);
    }
    let asked = door.borrow().asked;
    (took.expect("all come back"), asked)
}
