/*
 * The smaller variant that is common in the wild: when, how grave, which log, and three JSON texts.
 * Plain ECMAScript 5: runs unchanged here and in the Dataflow template Cloud_PubSub_to_BigQuery.
 */
function transform(inJson) {
  var entry = JSON.parse(inJson);
  var row = {
    timestamp: entry.timestamp,
    severity: entry.severity,
    logName: entry.logName
  };
  if (entry.resource) {
    row.resource_json = JSON.stringify(entry.resource);
  }
  if (entry.labels) {
    row.labels_json = JSON.stringify(entry.labels);
  }
  if (entry.jsonPayload) {
    row.jsonPayload_json = JSON.stringify(entry.jsonPayload);
  }
  return JSON.stringify(row);
}
