-- Which backend a request goes to. The controller has checked and sorted everything: the first location that matches is it.
local state = require "state"
local router = {}
local find, sub, byte = string.find, string.sub, string.byte
local SLASH = byte("/")

local function build(document)
    return {servers = document.servers or {}}
end

-- foo matches /foo, /foo/ and /foo/bar, but not /foobar.
local function matches_prefix(uri, path, length)
    if length == 1 then
        return true
    end
    if sub(uri, 1, length) ~= path then
        return false
    end
    return #uri == length or byte(uri, length + 1) == SLASH
end

-- Returns the location, and an expression's captures.
local function match(server, uri)
    for _, location in ipairs(server.locations) do
        local kind, path = location.type, location.path
        if kind == "exact" then
            if uri == path then
                return location
            end
        elseif kind == "prefix" then
            if matches_prefix(uri, path, location.length) then
                return location
            end
        else
            local captures = ngx.re.match(uri, path, "ijo")
            if captures then
                return location, captures
            end
        end
    end
end

-- The host's own rules, those of a wildcard for it, then those for all hosts.
local function find_location(servers, host, uri)
    local server = servers[host]
    if not server then
        local dot = find(host, ".", 1, true)
        server = dot and servers["*" .. sub(host, dot)]
    end
    local location, captures
    if server then
        location, captures = match(server, uri)
    end
    if not location and servers[""] then
        location, captures = match(servers[""], uri)
    end
    return server, location, captures
end

local function answer(status, text)
    ngx.status = status
    ngx.header["Content-Type"] = "text/plain"
    ngx.say(text)
    return ngx.exit(status)
end

-- $1 to $9 in a rewrite's target are the expression's captures.
local function rewritten(target, captures)
    if not captures then
        return target
    end
    return (string.gsub(target, "%$(%d)", function(digit)
        return captures[tonumber(digit)] or ""
    end))
end

local sizes = {{65536, "@body_64k"}, {1048576, "@body_1m"}, {8388608, "@body_8m"}, {67108864, "@body_64m"},
               {536870912, "@body_512m"}}
local function body_location(limit)
    for _, size in ipairs(sizes) do
        if limit > 0 and limit <= size[1] then
            return size[2]
        end
    end
    return "@body_any"
end

function router.route()
    local var = ngx.var
    local servers = state.get("routes", build).servers
    local server, location, captures = find_location(servers, var.host, var.uri)
    if not location then
        return answer(404, "default backend - 404")
    end
    if var.scheme == "http" and (location.force_ssl_redirect or (location.ssl_redirect and server and server.tls)) then
        return ngx.redirect("https://" .. var.host .. var.request_uri, 308)
    end
    local limit, length = location.body_size, tonumber(var.http_content_length)
    if limit > 0 and length and length > limit then
        return answer(413, "413 Request Entity Too Large")
    end
    var.ingress_backend = location.backend
    var.ingress_scheme = location.scheme
    var.ingress_timeouts = location.timeouts
    if not require("balancer").has_endpoints(location.backend) then
        return answer(503, "503 Service Temporarily Unavailable")
    end
    if location.rewrite then
        ngx.req.set_uri(rewritten(location.rewrite, captures), false, true) -- nginx escapes it on the way out
    end
    return ngx.exec(body_location(limit))
end

return router
