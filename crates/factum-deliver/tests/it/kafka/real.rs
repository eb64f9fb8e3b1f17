//! A broker of others, where one is installed, read by a client of others.

use factum_testkit::servers::{KafkaServer, Libraries, Library};
use serde_json::{Value, json};

use super::PARTITION;
use super::broker::TOPIC;
use crate::support::{deliver, delivery, open};

/// Reads a topic from its beginning, and says where its own producer would put the key.
const CONSUMER: &str = r#"
import json, sys
from kafka import KafkaConsumer
from kafka.partitioner.default import murmur2
given = json.load(sys.stdin)
consumer = KafkaConsumer(given["topic"], bootstrap_servers=given["server"], group_id=None,
    auto_offset_reset="earliest", consumer_timeout_ms=30000)
records = []
for record in consumer:
    records.append({
        "partition": record.partition, "offset": record.offset, "key": record.key.decode(),
        "value": record.value.decode(), "timestamp": record.timestamp,
        "headers": {name: value.decode() for name, value in record.headers},
        "wanted": (murmur2(record.key) & 0x7fffffff) % given["partitions"],
    })
    if len(records) == given["count"]:
        break
print(json.dumps(records))
"#;

#[tokio::test]
async fn a_client_of_others_reads_what_was_delivered_to_a_broker_of_others() {
    let Some(server) = KafkaServer::start() else {
        return;
    };
    server.create_topic(TOPIC, 3);
    let address = format!("127.0.0.1:{}", server.port());
    let target = open(&json!({
        "type": "kafka", "servers": [address], "tls": false, "topic": TOPIC,
        "payload": {"shape": "cloudEventsBinary"}, "limits": {"timeoutMs": 5000},
    }));
    for number in 1..=20_u64 {
        let delivered = deliver(&*target, number).await.unwrap();
        let said = format!("partition {PARTITION}, offset {}", number - 1);
        assert_eq!(delivered.excerpt, Some(said));
    }
    let missing = open(&json!({
        "type": "kafka", "servers": [address], "tls": false, "topic": "missing",
    }));
    let error = deliver(&*missing, 1).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.message.contains("UNKNOWN_TOPIC"), "{error}");
    let Some(client) = Libraries::with(Library::Python("kafka-python==3.0.12")) else {
        return;
    };
    let given = json!({"server": address, "topic": TOPIC, "partitions": 3, "count": 20});
    let read = client.run(CONSUMER, &given.to_string()).unwrap();
    let read: Vec<Value> = serde_json::from_str(&read).unwrap();
    assert_eq!(read.len(), 20);
    for (number, record) in (1..=20).zip(&read) {
        assert_eq!(record["offset"], number - 1);
        assert_eq!(record["partition"], record["wanted"]);
        assert_eq!(record["key"], "form/f-1");
        assert_eq!(record["value"], delivery(number).event.payload());
        let headers = &record["headers"];
        assert_eq!(headers["delivery"], delivery(number).id.to_string());
        assert_eq!(headers["ce_id"], delivery(number).event.id.to_string());
        assert_eq!(headers["ce_metadata"], r#"{"userId":"ann"}"#);
    }
}
