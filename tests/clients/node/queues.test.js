// amqplib's promise API: queues, consumers, acks.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { connect, name, Arrivals, next, until } = require('./broker');

async function channelAndQueue(t, options = { exclusive: true }) {
    const connection = await connect(t);
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', options);
    return { connection, channel, queue };
}

test('work queue: prefetch, acks, order', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    for (let number = 0; number < 100; number++) {
        channel.sendToQueue(queue, Buffer.from(`${number}`), { persistent: true });
    }
    const got = new Arrivals();
    await channel.prefetch(3);
    await channel.consume(queue, (message) => {
        got.add(Number(message.content));
        channel.ack(message);
    });
    assert.deepStrictEqual(await got.reach(100), [...Array(100).keys()]);
});

test('prefetch holds until acks make room', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    for (let number = 0; number < 10; number++) {
        channel.sendToQueue(queue, Buffer.from(`${number}`));
    }
    const got = new Arrivals();
    await channel.prefetch(4);
    await channel.consume(queue, (message) => got.add(message));
    await got.reach(4);
    await until(async () => (await channel.checkQueue(queue)).messageCount === 6);
    assert.strictEqual(got.all.length, 4);
    channel.ackAll();
    await got.reach(8);
    await until(async () => (await channel.checkQueue(queue)).messageCount === 2);
    assert.strictEqual(got.all.length, 8);
});

test('global prefetch counts for the whole channel', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    const other = (await channel.assertQueue('', { exclusive: true })).queue;
    await channel.prefetch(3, true);
    const got = new Arrivals();
    for (const each of [queue, other]) {
        await channel.consume(each, (message) => got.add(message));
        for (let number = 0; number < 5; number++) {
            channel.sendToQueue(each, Buffer.from(`${number}`));
        }
    }
    await got.reach(3);
    await until(async () => (await channel.checkQueue(queue)).messageCount
        + (await channel.checkQueue(other)).messageCount === 7);
    assert.strictEqual(got.all.length, 3);
});

test('nackAll requeues everything in its place', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    for (const word of ['a', 'b', 'c']) {
        channel.sendToQueue(queue, Buffer.from(word));
    }
    for (let taken = 0; taken < 3; taken++) {
        assert.ok(await channel.get(queue));
    }
    channel.nackAll();
    const again = [];
    for (let taken = 0; taken < 3; taken++) {
        const message = await channel.get(queue, { noAck: true });
        again.push([message.content.toString(), message.fields.redelivered]);
    }
    assert.deepStrictEqual(again, [['a', true], ['b', true], ['c', true]]);
});

test('nack and reject without requeue drop', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    for (const word of ['a', 'b', 'c', 'd']) {
        channel.sendToQueue(queue, Buffer.from(word));
    }
    channel.nack(await channel.get(queue), false, false);
    channel.reject(await channel.get(queue), false);
    const third = await channel.get(queue);
    assert.strictEqual(third.content.toString(), 'c');
    channel.reject(third, true);
    assert.strictEqual((await channel.get(queue, { noAck: true })).content.toString(), 'c');
    assert.strictEqual((await channel.get(queue, { noAck: true })).content.toString(), 'd');
    assert.strictEqual(await channel.get(queue), false);
});

test('recover delivers again', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    const got = new Arrivals();
    channel.sendToQueue(queue, Buffer.from('again'));
    await channel.consume(queue, (message) => got.add(message.fields.redelivered));
    await got.reach(1);
    await channel.recover();
    assert.deepStrictEqual(await got.reach(2), [false, true]);
});

test('get says how many are left', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    assert.strictEqual(await channel.get(queue), false);
    channel.sendToQueue(queue, Buffer.from('1'));
    channel.sendToQueue(queue, Buffer.from('2'));
    const message = await channel.get(queue, { noAck: true });
    assert.strictEqual(message.fields.messageCount, 1);
    assert.strictEqual(message.fields.routingKey, queue);
    assert.strictEqual(message.fields.exchange, '');
});

test('assert, check, purge and delete count', async (t) => {
    const { connection, channel } = await channelAndQueue(t);
    const queue = name();
    const asserted = await channel.assertQueue(queue, { durable: false });
    assert.deepStrictEqual({ ...asserted }, { queue, messageCount: 0, consumerCount: 0 });
    for (let number = 0; number < 5; number++) {
        channel.sendToQueue(queue, Buffer.from('x'));
    }
    await channel.get(queue);
    await channel.close();
    const fresh = await connection.createChannel();
    await until(async () => (await fresh.checkQueue(queue)).messageCount === 5);
    await fresh.get(queue);
    assert.strictEqual((await fresh.purgeQueue(queue)).messageCount, 4);
    fresh.sendToQueue(queue, Buffer.from('x'));
    fresh.sendToQueue(queue, Buffer.from('x'));
    assert.ok(await fresh.get(queue));
    assert.strictEqual((await fresh.deleteQueue(queue)).messageCount, 1);
});

test('a consumer whose queue is deleted gets null', async (t) => {
    const { connection, channel } = await channelAndQueue(t);
    const queue = name();
    await channel.assertQueue(queue, { durable: false });
    const got = new Arrivals();
    await channel.consume(queue, (message) => got.add(message));
    const other = await connection.createChannel();
    await other.deleteQueue(queue);
    assert.deepStrictEqual(await got.reach(1), [null]);
    await channel.assertQueue('', { exclusive: true });
});

test('cancel ends the deliveries', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    const got = new Arrivals();
    const { consumerTag } = await channel.consume(queue, (m) => got.add(m), { noAck: true });
    channel.sendToQueue(queue, Buffer.from('1'));
    await got.reach(1);
    await channel.cancel(consumerTag);
    channel.sendToQueue(queue, Buffer.from('2'));
    await until(async () => (await channel.checkQueue(queue)).messageCount === 1);
    assert.strictEqual(got.all.length, 1);
});

test('auto-delete queue goes with its consumer', async (t) => {
    const { connection, channel } = await channelAndQueue(t);
    const { queue } = await channel.assertQueue('', { autoDelete: true, durable: false });
    const { consumerTag } = await channel.consume(queue, () => {});
    await channel.cancel(consumerTag);
    await until(async () => {
        const probe = await connection.createChannel();
        probe.on('error', () => {});
        return probe.checkQueue(queue).then(() => false, (error) => error.code === 404);
    });
});

test('exclusive consumer refuses a second one', async (t) => {
    const { connection, channel, queue } = await channelAndQueue(t);
    await channel.consume(queue, () => {}, { exclusive: true });
    const other = await connection.createChannel();
    const told = next(other, 'error');
    await assert.rejects(other.consume(queue, () => {}), /403/);
    assert.strictEqual((await told).code, 403);
});

test('properties and headers come back', async (t) => {
    const { channel, queue } = await channelAndQueue(t);
    const headers = {
        text: 'grüße', number: 7, big: 2 ** 40, negative: -1.5, yes: true, no: false, nothing: null,
        list: [1, 'two', { three: [3] }], table: { deep: { deeper: 'x' } },
        when: { '!': 'timestamp', value: 1600000000 }, byte: { '!': 'byte', value: -8 },
        short: { '!': 'short', value: -1600 }, single: { '!': 'float', value: 0.5 },
        decimal: { '!': 'decimal', value: { digits: 314, places: 2 } }, raw: Buffer.from([0, 255]),
    };
    const sent = {
        contentType: 'a/b', contentEncoding: 'c', headers, deliveryMode: 2, priority: 5,
        correlationId: 'd', replyTo: 'e', expiration: '60000', messageId: 'f',
        timestamp: 1600000001, type: 'g', userId: 'guest', appId: 'h',
    };
    channel.sendToQueue(queue, Buffer.from('x'), sent);
    const { properties } = await until(() => channel.get(queue, { noAck: true }));
    for (const key of Object.keys(sent).filter((each) => each !== 'headers')) {
        assert.strictEqual(properties[key], sent[key], key);
    }
    const back = properties.headers;
    for (const key of ['text', 'number', 'big', 'negative', 'yes', 'no', 'nothing', 'list',
        'table', 'raw']) {
        assert.deepStrictEqual(back[key], headers[key], key);
    }
    assert.deepStrictEqual([back.byte, back.short, back.single], [-8, -1600, 0.5]);
    assert.deepStrictEqual(back.when, { '!': 'timestamp', value: 1600000000 });
    assert.deepStrictEqual(back.decimal, { '!': 'decimal', value: { digits: 314, places: 2 } });
});

test('two consumers share the work fairly', async (t) => {
    const { connection, channel } = await channelAndQueue(t);
    const queue = name();
    await channel.assertQueue(queue, { durable: false, autoDelete: true });
    const counts = [0, 0];
    const all = new Arrivals();
    for (const index of [0, 1]) {
        const worker = await connection.createChannel();
        await worker.prefetch(1);
        await worker.consume(queue, (message) => {
            counts[index] += 1;
            worker.ack(message);
            all.add(message);
        });
    }
    for (let number = 0; number < 200; number++) {
        channel.sendToQueue(queue, Buffer.from('x'));
    }
    await all.reach(200);
    assert.ok(Math.min(...counts) >= 20, `one had ${counts[0]}, the other ${counts[1]}`);
});
