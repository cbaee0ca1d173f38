-- Which of a backend's endpoints a try goes to: in turns, leaving out for a moment those that have just failed.
local state = require "state"
local ngx_balancer = require "ngx.balancer"
local balancer = {}

local MORE_TRIES = 2
local FAILED_SECONDS = 2
local turns = {}  -- backend -> the endpoint that was asked last; each worker's own
local failed = {} -- "address:port" -> until when it is left out

local function build(document)
    local now = ngx.now()
    for endpoint, ends in pairs(failed) do
        if ends < now then
            failed[endpoint] = nil
        end
    end
    for backend in pairs(turns) do
        if not document[backend] then
            turns[backend] = nil
        end
    end
    return document
end

local function endpoints(backend)
    return state.get("backends", build)[backend]
end

function balancer.has_endpoints(backend)
    local list = endpoints(backend)
    return list and #list > 0
end

local function name_of(endpoint)
    return endpoint[1] .. ":" .. endpoint[2]
end

-- The next one that was not tried for this request and has not failed lately; else the next that was not tried; else the next.
local function choose(backend, list, tried)
    local count, now = #list, ngx.now()
    local start = turns[backend] or math.random(count)
    local second
    for i = 1, count do
        local index = (start + i - 1) % count + 1
        local name = name_of(list[index])
        if not tried[name] then
            if not failed[name] or failed[name] < now then
                turns[backend] = index
                return list[index], name
            end
            second = second or index
        end
    end
    second = second or start % count + 1
    turns[backend] = second
    return list[second], name_of(list[second])
end

function balancer.balance()
    local var, ctx = ngx.var, ngx.ctx
    local backend = var.ingress_backend
    local list = endpoints(backend)
    if not list or #list == 0 then
        return ngx.exit(ngx.ERROR)
    end
    if not ctx.tried then
        ctx.tried = {}
        ngx_balancer.set_more_tries(math.min(MORE_TRIES, #list - 1))
    elseif ngx_balancer.get_last_failure() == "failed" and ctx.last then
        failed[ctx.last] = ngx.now() + FAILED_SECONDS
    end
    local endpoint, name = choose(backend, list, ctx.tried)
    ctx.tried[name] = true
    ctx.last = name
    local ok, err = ngx_balancer.set_current_peer(endpoint[1], endpoint[2])
    if not ok then
        ngx.log(ngx.ERR, "cannot use endpoint ", name, " of ", backend, ": ", err)
        return ngx.exit(ngx.ERROR)
    end
    local connect, send, read = string.match(var.ingress_timeouts, "^(%d+),(%d+),(%d+)$")
    if connect then
        ngx_balancer.set_timeouts(connect / 1000, send / 1000, read / 1000)
    end
end

return balancer
