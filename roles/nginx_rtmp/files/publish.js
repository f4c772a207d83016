// Answers the RTMP module's callbacks. Everything it knows is in files that are read per request, so no tenant ever needs a
// reload and no panel is asked. Written for njs 0.7.9 (Debian 12) and later.
//
// A live service has a lease, LIVE/<slug>, held by one connection and renewed by each update; CLIENTS/<connection> names its
// slug (and CLIENTS/<name> that of a stream that is sent on), since a suspended service's key file is gone by the time its publisher is.
//
// Of a service that another node has by now, the key's file says where: the encoder is sent on to there, under a name that stands for
// the key and is taken once, within a minute, since names are logged and go over the wire as they are. Only who was shown the key can
// make it for that node, which decides by its own files. An encoder whose stream that one does not take is sent away.

import crypto from 'crypto';
import fs from 'fs';

const KEYS = '/etc/streamfleet/publish-keys/';
const HLS = '/run/streamfleet/hls/';
const LIVE = '/run/streamfleet-rtmp/live/';
const CLIENTS = '/run/streamfleet-rtmp/clients/';
const KEPT = '/in-use';
const STARTED = '/run/streamfleet-rtmp/nginx.pid';
const DROPPED = '/run/streamfleet-rtmp/dropped-';

const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const KEY = /^[A-Za-z0-9_-]{1,128}$/;
// What stands for a key between two nodes: slug, milliseconds of the clock, code.
const TICKET = /^~([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)~([0-9]{13})~([A-Za-z0-9_-]{43})$/;
const NAME = /^~?[A-Za-z0-9_~-]{1,128}$/;
// What the module calls a stream that is sent on: a digest of where it goes.
const SENT_ON = /^[0-9a-f]{32}$/;
// Beside CLIENTS, which is empty when the server starts: CLIENTS/ticket-<slug> has the time of the last ticket that was taken.
const LAST = 'ticket-';
// Milliseconds by which a ticket may be old, or ahead of this node's clock.
const TICKET_MS = 60000;
const AHEAD_MS = 5000;
// Milliseconds in which the other node takes a stream.
const TAKEN_MS = 2500;
const CLIENT = /^[0-9]{1,20}$/;
const SEGMENT = /^[0-9]+\.ts$/;

// One argument of the callback. A client can append arguments of its own, never put one before ours: the first counts.
function argument(r, name, pattern) {
    const value = r.args[name];
    const first = String(Array.isArray(value) ? value[0] : value === undefined ? '' : value);
    return pattern.test(first) ? first : null;
}

function readJson(path) {
    try {
        return JSON.parse(fs.readFileSync(path, 'utf8'));
    } catch (e) {
        return null;
    }
}

function unlink(path) {
    try {
        fs.unlinkSync(path);
    } catch (e) {
        // Not there: as wanted.
    }
}

function digest(text) {
    return crypto.createHash('sha256').update(text).digest('hex');
}

// What a file of KEYS grants, or null: not there, or over.
function granted(name) {
    const found = readJson(KEYS + name + '.json');
    if (!found || !SLUG.test(found.slug)) {
        return null;
    }
    if (found.expires !== null && found.expires !== undefined && !(Date.parse(found.expires) > Date.now())) {
        return null;
    }
    return found;
}

// {slug, uid, expires, max_bitrate_kbps} of a key, or {slug, uid, expires, to} of one whose service another node has; to is null while
// nobody has it. Null: unknown, suspended or over. `now`: a ticket must be new, as it is when a stream starts.
function grant(name, now) {
    const ticket = name && TICKET.exec(name);
    if (ticket) {
        return now && !isNew(ticket) ? null : byTicket(ticket);
    }
    if (!name || !KEY.test(name)) {
        return null;
    }
    return granted(digest(name)) || granted('moved-' + digest('sent on ' + name));
}

// Of this minute, and after the last one that was taken. What was taken before the server started is not known, so older ones are not new.
function isNew(ticket) {
    const age = Date.now() - Number(ticket[2]);
    if (age > TICKET_MS || age < -AHEAD_MS) {
        return false;
    }
    try {
        return Number(ticket[2]) > Math.max(fs.statSync(STARTED).mtimeMs, readJson(CLIENTS + LAST + ticket[1]) || 0);
    } catch (e) {
        return false;
    }
}

function byTicket(ticket) {
    const of = readJson(KEYS + 'of-' + ticket[1] + '.json');
    const keys = of && Array.isArray(of.keys) ? of.keys : [];
    for (let i = 0; i < keys.length; i++) {
        // A digest is compared instead of the code itself: how far two of these agree tells nobody anything.
        if (digest(code(keys[i].secret, ticket[1], ticket[2])) === digest(ticket[3])) {
            const found = granted(keys[i].file);
            return found && found.slug === ticket[1] ? found : null;
        }
    }
    return null;
}

// By which the node that has the service sees that the other one was shown the key.
function code(secret, slug, time) {
    return crypto.createHmac('sha256', secret).update('sent on ' + slug + ' ' + time).digest('base64url');
}

// The secret is of the key and of the node that takes the ticket: a node that had the service cannot know another one's. Names of files
// are no secrets, so none of it comes from them.
function ticketFor(key, slug, node) {
    const time = String(Date.now());
    const secret = crypto.createHmac('sha256', key).update('ticket for ' + node).digest('hex');
    return '~' + slug + '~' + time + '~' + code(secret, slug, time);
}

function decide(r, status, slug, result) {
    r.variables.streamfleet_slug = slug || '';
    r.variables.streamfleet_result = result;
    r.return(status);
}

// The slug that a connection publishes as, or ''.
function slugOf(client) {
    try {
        const slug = client ? fs.readFileSync(CLIENTS + client, 'utf8') : '';
        return SLUG.test(slug) ? slug : '';
    } catch (e) {
        // Its start was refused.
        return '';
    }
}

// The directory of a service's segments, made before the module needs it, which would give it a mode that the web server cannot
// enter. The module's cleaner, another process, removes an empty one at any moment; a file of a kind that it does not know keeps it.
function prepare(directory) {
    for (let tries = 0; tries < 3; tries++) {
        try {
            if ((fs.statSync(directory).mode & 0o050) !== 0o050) {
                // The module's own, after all.
                fs.readdirSync(directory).forEach(name => fs.unlinkSync(directory + '/' + name));
                fs.rmdirSync(directory);
            }
        } catch (e) {
            // Not there yet.
        }
        try {
            fs.mkdirSync(directory, {mode: 0o750});
        } catch (e) {
            // There from an earlier run; its list must not be taken for the new one.
            unlink(directory + '/index.m3u8');
            unlink(directory + '/index.m3u8.bak');
        }
        try {
            fs.writeFileSync(directory + KEPT, '', {mode: 0o640});
            return;
        } catch (e) {
            // Removed between the two.
        }
    }
}

// A publisher starts: answered with a redirect to the public name, which is how the module renames the stream.
function publish(r) {
    const client = argument(r, 'clientid', CLIENT);
    const name = argument(r, 'name', NAME);
    const found = grant(name, true);
    if (!found || !client) {
        // Fail2ban counts these. It spares the other nodes, which send on what holds no more.
        decide(r, 403, '', 'refused: no such key');
        return;
    }
    const slug = found.slug;
    if (found.to === null) {
        decide(r, 403, slug, 'refused: moves to another node');
        return;
    }
    const lease = readJson(LIVE + slug);
    if (lease && Date.now() - lease.seen < Number(r.variables.streamfleet_lease_ms)) {
        decide(r, 403, slug, 'refused: already publishing');
        return;
    }
    if (lease && SENT_ON.test(lease.name)) {
        // Whoever had it is not asked by that name any more, and its own end does not see this lease.
        unlink(CLIENTS + lease.name);
    }
    const ticket = TICKET.exec(name);
    if (ticket) {
        fs.writeFileSync(CLIENTS + LAST + slug, ticket[2], {mode: 0o640});
    }
    if (!found.to) {
        prepare(HLS + slug);
    }
    const where = found.to ? found.to + '/' + ticketFor(name, slug, found.node) : slug;
    const called = found.to ? crypto.createHash('md5').update(where).digest('hex') : undefined;
    fs.writeFileSync(LIVE + slug, JSON.stringify({client: client, since: Date.now(), seen: Date.now(), to: found.to, name: called,
        address: argument(r, 'addr', /^[0-9A-Fa-f.:]{1,64}$/)}), {mode: 0o640});
    fs.writeFileSync(CLIENTS + client, slug, {mode: 0o640});
    if (called) {
        fs.writeFileSync(CLIENTS + called, slug, {mode: 0o640});
    }
    r.variables.streamfleet_slug = slug;
    r.variables.streamfleet_result = called ? 'sent on' : 'publishing';
    // Not by headersOut, where later versions of njs lose a relative Location.
    r.return(302, where);
}

// Asked every few seconds for each session; anything but 2xx ends that session and no other.
function update(r) {
    if (argument(r, 'call', /^[a-z_]+$/) !== 'update_publish') {
        // The sending half of the packaging hop. Nobody else plays: play is denied.
        r.return(204);
        return;
    }
    const client = argument(r, 'clientid', CLIENT);
    const found = grant(argument(r, 'name', NAME), false);
    if (!found) {
        decide(r, 403, slugOf(client), 'dropped: key revoked');
        return;
    }
    const lease = readJson(LIVE + found.slug);
    if (!lease || lease.client !== client) {
        decide(r, 403, found.slug, 'dropped: another session has the lease');
        return;
    }
    if (found.to === null || (found.to || '') !== (lease.to || '')) {
        decide(r, 403, found.slug, 'dropped: moves to another node');
        return;
    }
    if (found.to) {
        if (!lease.way && Date.now() - lease.since > TAKEN_MS) {
            decide(r, 403, found.slug, 'dropped: not taken by the node that has it');
            return;
        }
        renew(found.slug, lease);
        r.return(204);
        return;
    }
    const use = window(found.slug);
    if (use.bytes > Number(r.variables.streamfleet_hls_max_bytes)) {
        decide(r, 403, found.slug, 'dropped: segments take more space than a service may');
        return;
    }
    const kbps = use.seconds >= 8 ? use.listed * 8 / 1000 / use.seconds : 0;
    if (found.max_bitrate_kbps && kbps > found.max_bitrate_kbps * 1.1) {
        // For roles/nginx_rtmp/engine/meter.py, which tells the channel's owner.
        fs.writeFileSync(DROPPED + found.slug, JSON.stringify({uid: found.uid, at: Date.now(), kbps: Math.round(kbps),
            limit_kbps: found.max_bitrate_kbps}), {mode: 0o640});
        decide(r, 403, found.slug, 'dropped: above the bitrate limit');
        return;
    }
    renew(found.slug, lease);
    r.return(204);
}

function renew(slug, lease) {
    lease.seen = Date.now();
    fs.writeFileSync(LIVE + slug, JSON.stringify(lease), {mode: 0o640});
}

// A publisher is gone: free the lease, so that it can be back at once.
function done(r) {
    const client = argument(r, 'clientid', CLIENT);
    const slug = slugOf(client);
    if (!slug) {
        r.return(204);
        return;
    }
    const lease = readJson(LIVE + slug);
    if (lease && lease.client === client) {
        unlink(LIVE + slug);
        unlink(HLS + slug + KEPT);
        if (SENT_ON.test(lease.name)) {
            unlink(CLIENTS + lease.name);
        }
    }
    unlink(CLIENTS + client);
    decide(r, 204, slug, 'ended');
}

// The lease of a stream that is sent on, where its sending half asks, which plays it; null of any other, such as that to the hop.
function sentOn(r) {
    const name = argument(r, 'name', SENT_ON);
    const slug = slugOf(name);
    const lease = slug && readJson(LIVE + slug);
    const where = argument(r, 'addr', /^[^ ]{1,250}$/);
    if (!lease || lease.name !== name || !where || !where.startsWith(lease.to.substring('rtmp://'.length) + '/~')) {
        return null;
    }
    return {path: LIVE + slug, lease: lease};
}

// The other node is there, and asked. Where it refuses it ends the connection.
function taken(r) {
    const found = sentOn(r);
    const client = argument(r, 'clientid', CLIENT);
    // Its end may be told first. Connections are counted upwards.
    if (found && client && !(Number(client) <= found.lease.lost)) {
        found.lease.way = client;
        fs.writeFileSync(found.path, JSON.stringify(found.lease), {mode: 0o640});
    }
    r.return(204);
}

// The way there has ended, at either end. The encoder is sent away by its next update, and begins anew.
function lost(r) {
    const found = sentOn(r);
    const client = argument(r, 'clientid', CLIENT);
    if (found && client) {
        found.lease.lost = Math.max(Number(client), found.lease.lost || 0);
        if (found.lease.way === client) {
            delete found.lease.way;
        }
        fs.writeFileSync(found.path, JSON.stringify(found.lease), {mode: 0o640});
    }
    r.return(204);
}

// The packaging hop starts: only under a name that has a lease, whatever went before. So no key could ever become a path, and what is
// sent on is not packaged here.
function admit(r) {
    const slug = argument(r, 'name', SLUG);
    const lease = slug && readJson(LIVE + slug);
    if (lease && !lease.to) {
        r.return(204);
        return;
    }
    if (slug) {
        try {
            // The module has made it already. One of a service that has segments is not empty.
            fs.rmdirSync(HLS + slug);
        } catch (e) {
            // Not there, or in use.
        }
    }
    r.return(403);
}

// The packaging hop has closed its last segment: say so in the list, which the module never does. Not where the stream goes on, on
// another node: players ask again.
function ended(r) {
    const slug = argument(r, 'name', SLUG);
    const of = slug && readJson(KEYS + 'of-' + slug + '.json');
    if (slug && !(of && of.moved)) {
        const list = HLS + slug + '/index.m3u8';
        // Not a name that the web server serves; one that the module's cleaner removes.
        const draft = HLS + slug + '/~end.m3u8';
        try {
            const text = fs.readFileSync(list, 'utf8');
            if (text.indexOf('#EXT-X-ENDLIST') < 0) {
                fs.writeFileSync(draft, text + '#EXT-X-ENDLIST\n', {mode: 0o644});
                fs.renameSync(draft, list);
            }
        } catch (e) {
            // It ended before its first segment.
        }
    }
    r.return(204);
}

// What a service's segments take: bytes of all, and bytes and seconds of those that its list names.
function window(slug) {
    const use = {bytes: 0, listed: 0, seconds: 0};
    const sizes = {};
    try {
        const names = fs.readdirSync(HLS + slug);
        for (let i = 0; i < names.length; i++) {
            if (SEGMENT.test(names[i])) {
                sizes[names[i]] = fs.statSync(HLS + slug + '/' + names[i]).size;
                use.bytes += sizes[names[i]];
            }
        }
        const lines = fs.readFileSync(HLS + slug + '/index.m3u8', 'utf8').split('\n');
        for (let i = 1; i < lines.length; i++) {
            if (sizes[lines[i]] !== undefined) {
                use.listed += sizes[lines[i]];
                use.seconds += parseFloat(lines[i - 1].substring('#EXTINF:'.length)) || 0;
            }
        }
    } catch (e) {
        // Segments come and go while this looks.
    }
    return use;
}

export default { admit, done, ended, lost, publish, taken, update };
