// amqplib's callback API.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { connectWithCallbacks, name } = require('./broker');

// Runs body(channel, done) and waits for done(error).
async function withChannel(t, kind, body) {
    const connection = await connectWithCallbacks(t);
    await new Promise((resolve, reject) => {
        const done = (error) => (error ? reject(error) : resolve());
        connection[kind]((error, channel) => (error ? reject(error) : body(channel, done)));
    });
}

test('send, get and ack', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        channel.assertQueue('', { exclusive: true }, (error, { queue }) => {
            assert.ifError(error);
            channel.sendToQueue(queue, Buffer.from('hello'));
            channel.get(queue, {}, (getError, message) => {
                assert.ifError(getError);
                assert.strictEqual(message.content.toString(), 'hello');
                channel.ack(message);
                channel.get(queue, {}, (emptyError, nothing) => {
                    assert.strictEqual(nothing, false);
                    done(emptyError);
                });
            });
        });
    });
});

test('consume with prefetch and cancel', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        const got = [];
        const onMessage = (message) => {
            got.push(message.content.toString());
            channel.ack(message);
            if (got.length === 10) {
                channel.cancel('mine', (error) => {
                    assert.deepStrictEqual(got, [...'0123456789']);
                    done(error);
                });
            }
        };
        channel.prefetch(2);
        channel.assertQueue('', { exclusive: true }, (error, { queue }) => {
            assert.ifError(error);
            channel.consume(queue, onMessage, { consumerTag: 'mine' }, (consumeError) => {
                assert.ifError(consumeError);
                [...'0123456789'].forEach((body) => channel.sendToQueue(queue, Buffer.from(body)));
            });
        });
    });
});

test('confirm channel', async (t) => {
    await withChannel(t, 'createConfirmChannel', (channel, done) => {
        channel.assertQueue('', { exclusive: true }, (error, { queue }) => {
            assert.ifError(error);
            let confirmed = 0;
            for (let number = 0; number < 100; number++) {
                channel.sendToQueue(queue, Buffer.from('x'), {}, (nacked) => {
                    assert.ifError(nacked);
                    confirmed += 1;
                });
            }
            channel.waitForConfirms((nacked) => {
                assert.ifError(nacked);
                assert.strictEqual(confirmed, 100);
                done();
            });
        });
    });
});

test('nackAll, recover, purge and delete', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        const queue = name();
        channel.assertQueue(queue, { durable: false });
        channel.sendToQueue(queue, Buffer.from('1'));
        channel.sendToQueue(queue, Buffer.from('2'));
        channel.get(queue, {}, () => channel.get(queue, {}, () => {
            channel.nackAll();
            channel.recover((error) => {
                assert.ifError(error);
                channel.purgeQueue(queue, (purgeError, purged) => {
                    assert.ifError(purgeError);
                    assert.strictEqual(purged.messageCount, 2);
                    channel.deleteQueue(queue, {}, (deleteError, deleted) => {
                        assert.strictEqual(deleted.messageCount, 0);
                        done(deleteError);
                    });
                });
            });
        }));
    });
});

function takeThree(channel, queue, taken) {
    const bodies = [];
    const take = (error, message) => {
        assert.ifError(error);
        bodies.push(message && message.content.toString());
        if (bodies.length === 3) {
            taken(bodies);
        } else {
            channel.get(queue, { noAck: true }, take);
        }
    };
    channel.get(queue, { noAck: true }, take);
}

test('exchanges, bindings and alternate exchange', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        const [outer, inner, rest] = [name('x'), name('x'), name('x')];
        const transient = { durable: false };
        channel.assertExchange(rest, 'fanout', transient);
        channel.assertExchange(inner, 'fanout', transient);
        channel.assertExchange(outer, 'direct', { ...transient, alternateExchange: rest });
        channel.bindExchange(inner, outer, 'known', {});
        channel.assertQueue('', { exclusive: true }, (error, { queue }) => {
            assert.ifError(error);
            channel.bindQueue(queue, inner, '');
            // amqplib sends one request at a time, but publishes at once: wait for the last answer.
            channel.bindQueue(queue, rest, '', {}, () => {
                channel.publish(outer, 'known', Buffer.from('in'));
                channel.publish(outer, 'unknown', Buffer.from('around'));
                takeThree(channel, queue, (bodies) => {
                    assert.deepStrictEqual(bodies, ['in', 'around', false]);
                    channel.unbindExchange(inner, outer, 'known', {});
                    channel.deleteExchange(outer);
                    channel.deleteExchange(inner);
                    channel.deleteExchange(rest, {}, done);
                });
            });
        });
    });
});

test('a returned message', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        channel.on('return', (message) => {
            assert.strictEqual(message.fields.replyCode, 312);
            assert.strictEqual(message.content.toString(), 'back');
            done();
        });
        channel.publish('', name('nobody'), Buffer.from('back'), { mandatory: true });
    });
});

test('an error reaches the callback and the channel', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        let called = null;
        channel.on('error', (error) => {
            assert.strictEqual(error.code, 404);
            assert.ok(called, 'the callback comes first');
            done();
        });
        channel.checkQueue(name('absent'), (error) => { called = error; });
    });
});

test('a consumer whose queue is deleted gets null', async (t) => {
    await withChannel(t, 'createChannel', (channel, done) => {
        const queue = name();
        channel.assertQueue(queue, { durable: false });
        channel.consume(queue, (message) => {
            assert.strictEqual(message, null);
            done();
        }, {}, () => channel.deleteQueue(queue));
    });
});
