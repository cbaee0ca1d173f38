-- Which certificate a TLS client gets, by the name it asks for (SNI).
local state = require "state"
local ssl = require "ngx.ssl"
local certificates = {}

local function build(document)
    return {hosts = document.hosts or {}, pairs = document.pairs or {}, parsed = {}}
end

local function choose(c, name)
    if name then
        name = string.lower(name)
        local dot = string.find(name, ".", 1, true)
        local id = c.hosts[name] or (dot and c.hosts["*" .. string.sub(name, dot)])
        if id then
            return id
        end
    end
    return c.hosts[""]
end

local function parse(c, id)
    if not c.parsed[id] then
        local pair = c.pairs[id]
        local chain, err = ssl.parse_pem_cert(pair.certificate)
        local key, key_err = ssl.parse_pem_priv_key(pair.key)
        if not chain or not key then
            ngx.log(ngx.ERR, "certificate ", id, ": ", err or key_err)
            return nil
        end
        c.parsed[id] = {chain = chain, key = key}
    end
    return c.parsed[id]
end

-- Without a certificate of its own a name gets the default one of nginx.conf.
function certificates.present()
    local c = state.get("certificates", build)
    local id = choose(c, ssl.server_name())
    local pair = id and c.pairs[id] and parse(c, id)
    if not pair then
        return
    end
    ssl.clear_certs()
    local ok, err = ssl.set_cert(pair.chain)
    if ok then
        ok, err = ssl.set_priv_key(pair.key)
    end
    if not ok then
        ngx.log(ngx.ERR, "certificate ", id, ": ", err)
        return ngx.exit(ngx.ERROR)
    end
end

return certificates
