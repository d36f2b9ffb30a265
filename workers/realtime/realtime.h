/* realtime.h: the face of the event stream inside a worker.
 *
 * Publishes what db/event.h hands over after each commit on the process's
 * PUB socket: a ZeroMQ message of two parts, the channel (what a SUB filters
 * on) and a JSON object {"channel","offset","type","data","timestamp"}. An
 * event is lost to the socket when the process dies between commit and
 * send; it is not lost to the world: the outbox is the truth, and offsets
 * show the gap. */

#ifndef HIVE_REALTIME_H
#define HIVE_REALTIME_H

/* Binds the PUB endpoint and becomes the event sink. 0 or negative errno. */
int events_start(void *zmq_context, const char *endpoint);
void events_stop(void);

#endif
