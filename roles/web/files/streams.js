// Decides, per request, where a listener is sent and which certificate is shown. Nothing is reloaded for a tenant:
// routes, tenants' own names and certificates are files, one per service or host name, and a missing file means "not here".
// Written for njs 0.7.9 (Debian 12) and later.

import crypto from 'crypto';
import fs from 'fs';

const ROUTES = '/etc/streamfleet/routes/';
const CERTIFICATES = '/etc/streamfleet/tls/';
const DOMAINS = '/etc/streamfleet/domains/';
const PANEL_DOMAINS = '/var/lib/streamfleet/panel-domains/';

const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const LISTEN = /^\/listen\/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(\/[^/]*)?$/;
const MOUNT = /^\/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;
const HLS = /^\/hls\/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/((?:[A-Za-z0-9_-]{1,40}\/){0,8}[A-Za-z0-9_-]{1,80}\.(?:m3u8|ts))$/;
// A list or segment of a file that is played on demand: the file's path stands before it. No part of it begins with a dot.
const FILE = /^\/hls\/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/((?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\/){0,8}[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.(?:mp4|m4v|mov))\/([A-Za-z0-9_-]{1,80}\.(?:m3u8|ts))$/;
const ORIGIN = /^\/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\/(?:ngrp:)?[a-z0-9_]{1,32}(?:\.stream)?)?$/;
// What an engine is asked with, behind the mount, whoever listens.
const QUERY = /^[a-z0-9_]{1,16}=[a-z0-9]{1,16}$/;
const TOKEN = /^[A-Za-z0-9]{1,64}$/;
// A list or segment of a channel, below the channel's own name: what the locations of the configuration take, too.
const ITEM = /^\/(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\/){0,9}[A-Za-z0-9_-]{1,80}\.(?:m3u8|ts)$/;
const CHALLENGE = /^\/\.well-known\/acme-challenge\/[A-Za-z0-9_-]{1,128}$/;
// What is nowhere.
const NOWHERE = '/';
// Of another node, as it stands in an URL.
const ADDRESS = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]{2,45}\])$/;
const WEB_HOST = /^[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,251}[A-Za-z0-9])?$/;
const HOST_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;

// What a browser may be told that a stream is. Whatever else a source claims becomes a download.
const MEDIA_TYPES = [
    'application/ogg', 'application/octet-stream', 'audio/aac', 'audio/aacp', 'audio/flac', 'audio/mp4', 'audio/mpeg',
    'audio/ogg', 'audio/opus', 'audio/wav', 'audio/webm', 'audio/x-flac', 'video/mp2t', 'video/mp4', 'video/ogg', 'video/webm',
];

// The engine's headers that a listener gets. Cookies, redirects, refreshes and policies of a tenant's making are not among them.
const PASSED = /^(?:icy-[a-z0-9-]+|ice-[a-z0-9-]+|content-type|content-length|content-range|accept-ranges|www-authenticate)$/i;

const OWN = {
    'Access-Control-Allow-Headers': 'Authorization, Icy-MetaData, Range',
    'Access-Control-Allow-Methods': 'GET, HEAD, OPTIONS',
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Expose-Headers': 'Content-Length, icy-br, icy-description, icy-genre, icy-metaint, icy-name, icy-url',
    'Cache-Control': 'no-cache, no-store',
    'Content-Security-Policy': "sandbox; default-src 'none'; media-src 'self'",
    'Cross-Origin-Resource-Policy': 'cross-origin',
    'X-Content-Type-Options': 'nosniff',
};

// The address and path of the engine for /listen/<slug>[/<mount>], "127.0.0.1:<port>/<mount>"; empty: there is none. Nothing of the
// listener's own arguments is passed on.
function upstream(r) {
    const match = LISTEN.exec(r.uri);
    if (!match) {
        return '';
    }
    try {
        const route = JSON.parse(fs.readFileSync(ROUTES + match[1] + '.json', 'utf8'));
        const mount = match[2] && match[2] !== '/' ? match[2] : route.default;
        const port = Number(route.port);
        if (!MOUNT.test(mount) || route.mounts.indexOf(mount) < 0 || !(port >= 1 && port <= 65535) || port % 1 !== 0) {
            return '';
        }
        if (route.query === undefined) {
            return '127.0.0.1:' + port + mount;
        }
        return typeof route.query === 'string' && QUERY.test(route.query) ? '127.0.0.1:' + port + mount + '?' + route.query : '';
    } catch (e) {
        // No file: the service is off the air. A broken one is its writer's fault, and no reason to answer differently.
        return '';
    }
}

// The address and path of the engine for /hls/<slug>/<item>, "127.0.0.1:<port>/<path>/<item>"; empty: this host has the file, or nobody.
// An engine that tells viewers apart by a token gets the viewer's, or a new one; no other argument is passed on. The list that begins a
// stream leads on to lists with the token in their addresses. One that is asked for by itself, again and again (an archive's), does not:
// its viewers keep a token that is made of who they are, so that each counts once.
function origin(r) {
    const file = FILE.exec(r.uri);
    const match = file || HLS.exec(r.uri);
    if (!match) {
        return '';
    }
    try {
        const route = JSON.parse(fs.readFileSync(ROUTES + match[1] + '.json', 'utf8'));
        const port = Number(route.port);
        if (!route.files !== !file) {
            return '';
        }
        if (!ORIGIN.test(route.hls) || !(port >= 1 && port <= 65535) || port % 1 !== 0) {
            return '';
        }
        const base = '127.0.0.1:' + port + route.hls + '/';
        // What was sent before begins with a list of its own, which such an engine is asked for with an argument.
        if (route.archive && match[2] === 'dvr.m3u8') {
            return base + 'playlist.m3u8?DVR';
        }
        const address = base + (file ? 'mp4:' + match[2] + '/' + match[3] : match[2]);
        if (!route.token) {
            return address;
        }
        const token = r.args.token;
        if (typeof token === 'string' && TOKEN.test(token)) {
            return address + '?token=' + token;
        }
        return address + '?token=' + (match[2] === 'index.m3u8' ? r.variables.request_id : viewer(r, match[1]));
    } catch (e) {
        // No file, or a broken one: as in upstream().
        return '';
    }
}

// The web server of the node that has the channel by now, for /hls/<slug>/<item>: its address, or with `part` the name it is asked by;
// empty: nobody else has it. The route is what the panel has said; nothing of the request is in it.
function sentOn(r, part) {
    const match = HLS.exec(r.uri);
    if (!match) {
        return '';
    }
    try {
        const route = JSON.parse(fs.readFileSync(ROUTES + match[1] + '.json', 'utf8'));
        const web = route.elsewhere === true ? route.web : undefined;
        return web && ADDRESS.test(web.address) && WEB_HOST.test(web.host) ? web[part] : '';
    } catch (e) {
        // No file, or a broken one: as in upstream().
        return '';
    }
}

function elsewhere(r) {
    return sentOn(r, 'address');
}

function elsewhereHost(r) {
    return sentOn(r, 'host');
}

// One viewer of a channel, as far as a request without a token tells.
function viewer(r, slug) {
    const who = [slug, r.variables.remote_addr, r.headersIn['User-Agent'] || ''].join('\n');
    return crypto.createHash('sha256').update(who).digest('hex');
}

// Of what an engine says about a segment or list, only its length is passed on; all else is as for files of this host.
function filterSegments(r) {
    const names = [];
    for (const name in r.headersOut) {
        names.push(name);
    }
    for (let i = 0; i < names.length; i++) {
        if (!/^(?:content-length|content-range|accept-ranges)$/i.test(names[i])) {
            delete r.headersOut[names[i]];
        }
    }
    r.headersOut['Content-Type'] = /\.m3u8$/.test(r.uri) ? 'application/vnd.apple.mpegurl' : 'video/mp2t';
}

// Only what this nginx decided itself reaches the listener.
function filterHeaders(r) {
    const type = String(r.headersOut['Content-Type'] || '').split(';')[0].trim().toLowerCase();
    const names = [];
    for (const name in r.headersOut) {
        names.push(name);
    }
    for (let i = 0; i < names.length; i++) {
        if (!PASSED.test(names[i])) {
            delete r.headersOut[names[i]];
        }
    }
    r.headersOut['Content-Type'] = MEDIA_TYPES.indexOf(type) < 0 ? 'application/octet-stream' : type;
    for (const own in OWN) {
        r.headersOut[own] = OWN[own];
    }
}

// Where a request under a name that is none of this installation's own is looked for: the path under which the service of that name is
// to be found, or one that is nowhere. Empty: nobody here has the name.
function place(r) {
    // Whoever is about to get a certificate for a name has no file for it yet, or proves that it leads here.
    if (r.variables.scheme === 'http' && CHALLENGE.test(r.uri)) {
        return r.uri;
    }
    const name = hostName(r.variables.host);
    if (name === '' || name.length > 200) {
        return '';
    }
    let domain;
    try {
        domain = JSON.parse(fs.readFileSync(DOMAINS + name + '.json', 'utf8'));
    } catch (e) {
        // No file, or a broken one: as in upstream().
        return '';
    }
    if (domain === null || typeof domain.slug !== 'string' || !SLUG.test(domain.slug)) {
        return '';
    }
    return domain.way === 'listen' ? audio(r.uri, domain.slug) : domain.way === 'hls' ? video(r.uri, domain.slug) : '';
}

// Whether a request under a name that is none of this installation's own is for the panel, "1" or "": the name is a reseller's.
function whiteLabel(r) {
    if (r.variables.scheme === 'http' && CHALLENGE.test(r.uri)) {
        return '';
    }
    const name = hostName(r.variables.host);
    if (name === '' || name.length > 200) {
        return '';
    }
    try {
        fs.accessSync(PANEL_DOMAINS + name + '.json', fs.constants.F_OK);
        return '1';
    } catch (e) {
        return '';
    }
}

function audio(uri, slug) {
    if (uri === '/') {
        return '/listen/' + slug;
    }
    const match = LISTEN.exec(uri);
    if (match && match[1] === slug) {
        return uri;
    }
    return MOUNT.test(uri) ? '/listen/' + slug + uri : NOWHERE;
}

function video(uri, slug) {
    const own = '/hls/' + slug;
    if (uri.startsWith('/hls/')) {
        return uri.startsWith(own + '/') && ITEM.test(uri.slice(own.length)) ? uri : NOWHERE;
    }
    return ITEM.test(uri) ? own + uri : NOWHERE;
}

// A host name in lower case, such as a file may have; empty where it is none.
function hostName(given) {
    const name = String(given || '').toLowerCase();
    if (name.length > 253) {
        return '';
    }
    const labels = name.split('.');
    for (let i = 0; i < labels.length; i++) {
        if (!HOST_LABEL.test(labels[i])) {
            return '';
        }
    }
    return name;
}

// The directory of the certificate for the name a client asked for (SNI); the default host's where there is none of that name.
function certificate(r) {
    const fallback = r.variables.streamfleet_default_host;
    const name = hostName(r.variables.ssl_server_name);
    if (name === '') {
        return fallback;
    }
    try {
        fs.accessSync(CERTIFICATES + name + '/fullchain.pem', fs.constants.R_OK);
        fs.accessSync(CERTIFICATES + name + '/privkey.pem', fs.constants.R_OK);
        return name;
    } catch (e) {
        return fallback;
    }
}

export default { certificate, elsewhere, elsewhereHost, filterHeaders, filterSegments, origin, place, upstream, whiteLabel };
