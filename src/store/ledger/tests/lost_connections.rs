//! Connections to the database that end at any time.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::store::ledger::tests::{World, check_laws, consume_of, core, finish_of};
use crate::store::postgres::tests::tamper;

/// Time for which the connections of the service end, at intervals from 1 to 64 ms.
const CHAOS: Duration = Duration::from_secs(4);
/// Time after which the test gives up. A host with other work needs longer than [`CHAOS`] for a few answers.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_at_any_time_lose_no_answered_request_and_repeat_none() {
    for mut world in World::on_each_engine().into_iter().filter(|world| world.server.is_some()) {
        world.name_node("chaos");
        let ledger = world.sealed().await;
        let stop = Arc::new(AtomicBool::new(false));
        let settings = world.server.clone().expect("PostgreSQL");
        let chaos = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let sql = "DO $$ DECLARE n int := 1; BEGIN WHILE n < 2000 LOOP \
                           PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE application_name = 'countersign:chaos' AND pid <> pg_backend_pid(); \
                           PERFORM pg_sleep(((n * 7919) % 64 + 1) / 1000.0); PERFORM pg_stat_clear_snapshot(); \
                           n := n + 20; END LOOP; END $$";
                while !stop.load(SeqCst) {
                    tamper(&settings, sql);
                    // The service can work in peace for a moment.
                    std::thread::sleep(Duration::from_millis(300));
                }
            }
        });
        let (answered, faults) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..6_u8)
            .map(|task| {
                let (ledger, answered, faults) = (ledger.clone(), Arc::clone(&answered), Arc::clone(&faults));
                tokio::spawn(async move {
                    for number in (task * 40)..(task * 40 + 40) {
                        let enough = answered.lock().expect("lock").len() > 10;
                        if begun.elapsed() > CHAOS && enough || begun.elapsed() > DEADLINE {
                            return;
                        }
                        match ledger.consume(consume_of(&ledger, core(number))).await {
                            Ok(spent) => answered.lock().expect("lock").push((number, spent.index, spent.item)),
                            Err(_) => *faults.lock().expect("lock") += 1,
                        }
                        drop(ledger.finish(finish_of(&ledger, &core(number).id)).await);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("task");
        }
        stop.store(true, SeqCst);
        chaos.join().expect("joined");
        assert!(world.fatal.lock().expect("lock").is_empty(), "no lost connection ends the process");
        let answered = answered.lock().expect("lock").clone();
        eprintln!(
            "{} consumptions were answered, {} requests got a fault",
            answered.len(),
            faults.lock().expect("lock")
        );
        assert!(answered.len() > 10, "only {} answers", answered.len());
        for (number, index, item) in answered {
            let row = ledger.spent(&core(number).nonce).expect("read").expect("an answered consumption is stored");
            assert_eq!((row.index, row.item), (index, item));
        }
        // The next batch makes the writer read what it does not know.
        ledger.consume(consume_of(&ledger, core(250))).await.expect("consumed");
        check_laws(&ledger);
        ledger.close().await.expect("closed");
        check_laws(&world.open());
    }
}
