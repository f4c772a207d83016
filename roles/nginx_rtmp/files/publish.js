// Answers the RTMP module's callbacks. Everything it knows is in files that are read per request, so no tenant ever needs a
// reload and no panel is asked. Written for njs 0.7.9 (Debian 12) and later.
//
// A live service has a lease, LIVE/<slug>, held by one connection and renewed by each update; CLIENTS/<connection> names its
// slug, since a suspended service's key file is gone by the time its publisher is.

import crypto from 'crypto';
import fs from 'fs';

const KEYS = '/etc/streamfleet/publish-keys/';
const HLS = '/run/streamfleet/hls/';
const LIVE = '/run/streamfleet-rtmp/live/';
const CLIENTS = '/run/streamfleet-rtmp/clients/';
const KEPT = '/in-use';
const DROPPED = '/run/streamfleet-rtmp/dropped-';

const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const KEY = /^[A-Za-z0-9_-]{1,128}$/;
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

// The key's file, {slug, uid, expires, max_bitrate_kbps}, or null: unknown, suspended or over.
function grant(key) {
    const found = key && readJson(KEYS + crypto.createHash('sha256').update(key).digest('hex') + '.json');
    if (!found || !SLUG.test(found.slug)) {
        return null;
    }
    if (found.expires !== null && found.expires !== undefined && !(Date.parse(found.expires) > Date.now())) {
        return null;
    }
    return found;
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
    const found = grant(argument(r, 'name', KEY));
    if (!found || !client) {
        decide(r, 403, '', 'refused: no such key');
        return;
    }
    const slug = found.slug;
    const lease = readJson(LIVE + slug);
    if (lease && Date.now() - lease.seen < Number(r.variables.streamfleet_lease_ms)) {
        decide(r, 403, slug, 'refused: already publishing');
        return;
    }
    prepare(HLS + slug);
    fs.writeFileSync(LIVE + slug, JSON.stringify({client: client, since: Date.now(), seen: Date.now(),
        address: argument(r, 'addr', /^[0-9A-Fa-f.:]{1,64}$/)}), {mode: 0o640});
    fs.writeFileSync(CLIENTS + client, slug, {mode: 0o640});
    r.variables.streamfleet_slug = slug;
    r.variables.streamfleet_result = 'publishing';
    // Not by headersOut, where later versions of njs lose a relative Location.
    r.return(302, slug);
}

// Asked every few seconds for each session; anything but 2xx ends that session and no other.
function update(r) {
    if (argument(r, 'call', /^[a-z_]+$/) !== 'update_publish') {
        // The sending half of the packaging hop. Nobody else plays: play is denied.
        r.return(204);
        return;
    }
    const client = argument(r, 'clientid', CLIENT);
    const found = grant(argument(r, 'name', KEY));
    if (!found) {
        decide(r, 403, slugOf(client), 'dropped: key revoked');
        return;
    }
    const lease = readJson(LIVE + found.slug);
    if (!lease || lease.client !== client) {
        decide(r, 403, found.slug, 'dropped: another session has the lease');
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
    lease.seen = Date.now();
    fs.writeFileSync(LIVE + found.slug, JSON.stringify(lease), {mode: 0o640});
    r.return(204);
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
    }
    unlink(CLIENTS + client);
    decide(r, 204, slug, 'ended');
}

// The packaging hop starts: only under a name that has a lease, whatever went before. So no key could ever become a path.
function admit(r) {
    const slug = argument(r, 'name', SLUG);
    r.return(slug && readJson(LIVE + slug) ? 204 : 403);
}

// The packaging hop has closed its last segment: say so in the list, which the module never does.
function ended(r) {
    const slug = argument(r, 'name', SLUG);
    if (slug) {
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

export default { admit, done, ended, publish, update };
