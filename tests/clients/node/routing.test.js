// amqplib's promise API: exchanges, bindings, and questions with answers.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { connect, name, Arrivals, next, until } = require('./broker');

async function subscriber(channel, exchange, pattern = '', args = {}) {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, exchange, pattern, args);
    return queue;
}

async function takeAll(channel, queue) {
    const bodies = [];
    for (;;) {
        const message = await channel.get(queue, { noAck: true });
        if (!message) {
            return bodies;
        }
        bodies.push(message.content.toString());
    }
}

async function channelAndExchange(t, type, options = {}) {
    const channel = await (await connect(t)).createChannel();
    const { exchange } = await channel.assertExchange(
        name('x'), type, { durable: false, autoDelete: true, ...options });
    return { channel, exchange };
}

test('fanout', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'fanout');
    const queues = [];
    for (let number = 0; number < 3; number++) {
        queues.push(await subscriber(channel, exchange));
    }
    channel.publish(exchange, 'ignored', Buffer.from('all'));
    for (const queue of queues) {
        assert.deepStrictEqual(await takeAll(channel, queue), ['all']);
    }
});

test('direct and unbind', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'direct');
    const queue = await subscriber(channel, exchange, 'a');
    await channel.bindQueue(queue, exchange, 'b');
    await channel.bindQueue(queue, exchange, 'c');
    await channel.unbindQueue(queue, exchange, 'b');
    for (const key of ['a', 'b', 'c', 'd']) {
        channel.publish(exchange, key, Buffer.from(key));
    }
    assert.deepStrictEqual(await takeAll(channel, queue), ['a', 'c']);
});

test('topic', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'topic');
    const queue = await subscriber(channel, exchange, 'kern.*.#');
    for (const key of ['kern', 'kern.a', 'kern.a.b.c', 'cron.a']) {
        channel.publish(exchange, key, Buffer.from(key));
    }
    assert.deepStrictEqual(await takeAll(channel, queue), ['kern.a', 'kern.a.b.c']);
});

test('headers', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'headers');
    const all = await subscriber(channel, exchange, '', { 'x-match': 'all', a: 1, b: 'two' });
    const any = await subscriber(channel, exchange, '', { 'x-match': 'any', a: 1, b: 'two' });
    channel.publish(exchange, '', Buffer.from('both'), { headers: { a: 1, b: 'two', c: 3 } });
    channel.publish(exchange, '', Buffer.from('one'), { headers: { a: 1 } });
    channel.publish(exchange, '', Buffer.from('none'), { headers: { a: 2 } });
    assert.deepStrictEqual(await takeAll(channel, all), ['both']);
    assert.deepStrictEqual(await takeAll(channel, any), ['both', 'one']);
});

test('bindExchange and unbindExchange', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'topic');
    const inner = (await channel.assertExchange(name('x'), 'fanout',
        { durable: false, autoDelete: false })).exchange;
    const queue = await subscriber(channel, inner);
    await channel.bindExchange(inner, exchange, 'a.#');
    channel.publish(exchange, 'a.b', Buffer.from('through'));
    channel.publish(exchange, 'b', Buffer.from('past'));
    assert.deepStrictEqual(await takeAll(channel, queue), ['through']);
    await channel.unbindExchange(inner, exchange, 'a.#');
    channel.publish(inner, 'a.b', Buffer.from('straight'));
    assert.deepStrictEqual(await takeAll(channel, queue), ['straight']);
    await channel.deleteExchange(inner);
});

test('alternateExchange', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const alternate = name('x');
    const exchange = name('x');
    await channel.assertExchange(alternate, 'fanout', { durable: false });
    await channel.assertExchange(exchange, 'direct',
        { durable: false, alternateExchange: alternate });
    const rest = await subscriber(channel, alternate);
    channel.publish(exchange, 'nobody', Buffer.from('rest'));
    assert.deepStrictEqual(await takeAll(channel, rest), ['rest']);
    await channel.deleteExchange(exchange, { ifUnused: true });
    await channel.deleteExchange(alternate);
});

test('internal exchange', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'fanout', { internal: true });
    const told = next(channel, 'error');
    await subscriber(channel, exchange);
    channel.publish(exchange, '', Buffer.from('no'));
    assert.strictEqual((await told).code, 403);
});

test('checkExchange', async (t) => {
    const { channel, exchange } = await channelAndExchange(t, 'fanout');
    await channel.checkExchange(exchange);
    await channel.checkExchange('amq.topic');
    channel.on('error', () => {});
    await assert.rejects(channel.checkExchange(name('absent')), /404/);
});

test('CC and BCC', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const queues = [];
    for (let number = 0; number < 3; number++) {
        queues.push((await channel.assertQueue('', { exclusive: true })).queue);
    }
    channel.sendToQueue(queues[0], Buffer.from('x'), { CC: queues[1], BCC: [queues[2]] });
    for (const queue of queues) {
        const message = await until(() => channel.get(queue, { noAck: true }));
        assert.deepStrictEqual(message.properties.headers, { CC: [queues[1]] });
    }
});

async function serve(t) {
    const channel = await (await connect(t)).createChannel();
    const { queue } = await channel.assertQueue(name('rpc'), { durable: false, autoDelete: true });
    await channel.prefetch(1);
    await channel.consume(queue, (message) => {
        const { replyTo, correlationId } = message.properties;
        const answer = `${Number(message.content) ** 2}`;
        channel.sendToQueue(replyTo, Buffer.from(answer), { correlationId });
        channel.ack(message);
    });
    return queue;
}

async function ask(t, queue, replyQueue) {
    const channel = await (await connect(t)).createChannel();
    const answers = new Arrivals();
    const replyTo = replyQueue
        || (await channel.assertQueue('', { exclusive: true })).queue;
    await channel.consume(replyTo, (message) => {
        answers.add([message.properties.correlationId, message.content.toString()]);
    }, { noAck: true });
    for (let number = 0; number < 20; number++) {
        channel.sendToQueue(queue, Buffer.from(`${number}`),
            { correlationId: `q${number}`, replyTo });
    }
    const got = await answers.reach(20);
    for (let number = 0; number < 20; number++) {
        assert.deepStrictEqual(got[number], [`q${number}`, `${number * number}`]);
    }
}

test('rpc with an exclusive reply queue', async (t) => {
    await ask(t, await serve(t), null);
});

test('rpc with direct reply-to', async (t) => {
    await ask(t, await serve(t), 'amq.rabbitmq.reply-to');
});
